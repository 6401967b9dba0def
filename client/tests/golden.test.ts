/** The golden frames of the protocol fit our types, field by field. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it, onTestFinished } from "vitest";
import type { CacheInvalidate } from "../src/index.js";
import { change } from "../src/project.js";

const FRAMES = fileURLToPath(new URL("../../protocol/frames/", import.meta.url));
const CLIENT = fileURLToPath(new URL("../", import.meta.url));
const FROM_CLIENT = /^(auth|subscribe|unsubscribe|ping)(_|\.)/;

const golden = readdirSync(FRAMES).map((name) => ({ name, text: readFileSync(join(FRAMES, name), "utf8").trim() }));

function compile(lines: string[]): string {
  // Inside the package, so that it finds the compiler's settings.
  const folder = mkdtempSync(join(CLIENT, "tests", ".golden-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "frames.ts");
  const imports = 'import type { ClientFrame, ServerFrame } from "../../src/index.js";';
  writeFileSync(file, [imports, ...lines].join("\n"));
  const settings = join(folder, "tsconfig.json");
  writeFileSync(settings, JSON.stringify({ extends: "../../tsconfig.json", include: ["frames.ts"] }));
  try {
    execFileSync(join(CLIENT, "node_modules/.bin/tsc"), ["-p", settings], { encoding: "utf8", stdio: "pipe" });
    return "";
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}

it("passes every golden frame through the types", () => {
  expect(golden.length).toBeGreaterThan(25);
  const lines = golden.map(({ name, text }, place) => {
    const type = FROM_CLIENT.test(name) ? "ClientFrame" : "ServerFrame";
    return `export const frame${place}: ${type} = ${text};`;
  });
  expect(compile(lines)).toBe("");
});

it("would not pass a frame with a field that the types lack, or that has another type", () => {
  expect(compile(['export const frame: ServerFrame = {"type":"pong","news":1};'])).toContain("news");
  expect(compile(['export const frame: ServerFrame = {"type":"pong","cursor":1};'])).toContain(
    "Type 'number' is not assignable",
  );
  expect(compile(['export const frame: ServerFrame = {"type":"unheard_of"};'])).toContain("unheard_of");
});

it("tells a listener what the golden frames of changes say", () => {
  const changes = golden.filter(({ name }) => name.startsWith("cache_invalidate"));
  const events = Object.fromEntries(
    changes.map(({ name, text }) => [name, change(JSON.parse(text) as CacheInvalidate)]),
  );
  expect(events["cache_invalidate.json"]).toEqual({
    type: "change",
    projectId: "7",
    resource: "task",
    action: "UPDATE",
    ids: ["1"],
    cursor: "748123.0",
    timestamp: "2026-11-20T17:00:00.123456Z",
  });
  expect(events["cache_invalidate_batch.json"]).toMatchObject({ ids: ["1", "2", "3"] });
  expect(events["cache_invalidate_batch_rows.json"]).toMatchObject({ rows: [{ title: "Write it down" }, null] });
  expect(events["cache_invalidate_resource.json"]).toMatchObject({ ids: null, action: "DELETE" });
  expect(events["cache_invalidate_row.json"]).toMatchObject({ ids: ["1"], rows: [{ title: "Write it down" }] });
  expect(events["cache_invalidate_origin.json"]).toMatchObject({ origin: "tab-1" });
});
