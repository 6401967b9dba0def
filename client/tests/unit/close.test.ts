import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { delayOf, mayReturn, wordsOf } from "../../src/close.js";
import { ROOT } from "../world.js";

/** The close codes of docs/protocol.md, each with what its last column says. */
function table(): [number, string][] {
  const text = readFileSync(join(ROOT, "docs/protocol.md"), "utf8");
  const section = text.split("## Close codes")[1]?.split("\n## ")[0] ?? "";
  return [...section.matchAll(/^\| (\d{4}) \|.*\| (yes|no)\b([^|]*)\|$/gm)].map(([, code, answer, more]) => [
    Number(code),
    `${answer}${more}`.trim(),
  ]);
}

it("comes back where the protocol says so, and only there", () => {
  const codes = table();
  expect(codes.length).toBeGreaterThan(10);
  for (const [code, answer] of codes) {
    // It answers our own close, after which nobody listens; a proxy that says it may be asked again.
    if (code !== 1000) expect(mayReturn(code), `${code}: ${answer}`).toBe(answer.startsWith("yes"));
  }
  expect(mayReturn(1006)).toBe(true);
});

it("waits a random time, of at most 1 s at first and 30 s at last, and longer where the protocol says later", () => {
  const delays = (failures: number, code: number) => Array.from({ length: 2000 }, () => delayOf(failures, code));
  for (const [failures, bound] of [
    [0, 1_000],
    [1, 2_000],
    [4, 16_000],
    [5, 30_000],
    [5_000, 30_000],
  ] as const) {
    const all = delays(failures, 1006);
    expect(Math.max(...all)).toBeLessThanOrEqual(bound);
    // Full jitter: the whole of it is used.
    expect(Math.max(...all)).toBeGreaterThan(bound * 0.9);
    expect(Math.min(...all)).toBeLessThan(bound * 0.1);
  }
  for (const [code] of table().filter(([, answer]) => answer.includes("later"))) {
    expect(Math.min(...delays(0, code))).toBeGreaterThanOrEqual(5_000);
  }
});

it("says in words why, whatever the code", () => {
  expect(wordsOf(4401, "")).toContain("log in again");
  expect(wordsOf(1006, "")).toBe("the connection was lost");
  expect(wordsOf(1006, "the network is gone")).toBe("the network is gone");
  expect(wordsOf(4999, "")).toContain("4999");
});
