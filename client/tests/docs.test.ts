/** Every ts and tsx block of docs/*.md compiles against the package. */

import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const PACKAGE = dirname(dirname(fileURLToPath(import.meta.url)));
const PAGES = readdirSync(join(PACKAGE, "docs")).filter((name) => name.endsWith(".md"));
const OPTIONS = {
  target: "ES2022",
  module: "ESNext",
  moduleResolution: "Bundler",
  lib: ["ES2023", "DOM", "DOM.Iterable"],
  types: [],
  jsx: "react-jsx",
  strict: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: true,
  noEmit: true,
};

interface Block {
  readonly line: number;
  /** Relative to the folder of the page. */
  readonly file: string;
  readonly text: string;
}

/** The blocks of a page: each is a module, under the name that its first line gives it, if it does. */
function blocksOf(page: string): Block[] {
  const markdown = readFileSync(join(PACKAGE, "docs", page), "utf8");
  return [...markdown.matchAll(/^```(tsx?)\n(.*?)^```$/gms)].map((match) => {
    const [, language = "", text = ""] = match;
    const line = markdown.slice(0, match.index).split("\n").length + 1;
    const named = /^\/\/ (\S+\.tsx?)\n/.exec(text)?.[1];
    return { line, file: named ?? `line-${line}.${language}`, text };
  });
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pgherald-docs-"));
  symlinkSync(join(PACKAGE, "node_modules"), join(folder, "node_modules"));
  writeFileSync(join(folder, "given.d.ts"), readFileSync(join(PACKAGE, "tests", "docs", "given.d.ts.txt")));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** What `tsc` has against the files of a folder inside `folder`. */
function check(name: string, files: { readonly [file: string]: string }): string {
  const directory = join(folder, name);
  mkdirSync(directory);
  for (const [file, text] of Object.entries(files)) writeFileSync(join(directory, file), `${text}\nexport {};\n`);
  const source = (file: string) => [join(PACKAGE, "src", file)];
  const paths = {
    pgherald: source("index.ts"),
    "pgherald/react": source("react.tsx"),
    "pgherald/shared": source("shared.ts"),
    "pgherald/tanstack-query": source("tanstack-query.ts"),
  };
  const config = { compilerOptions: { ...OPTIONS, paths }, include: [".", "../given.d.ts"] };
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify(config));
  try {
    execFileSync(process.execPath, [join(PACKAGE, "node_modules", "typescript", "bin", "tsc"), "-p", directory], {
      encoding: "utf8",
      stdio: "pipe",
    });
    return "";
  } catch (error) {
    return String((error as { stdout?: unknown }).stdout);
  }
}

describe("docs", () => {
  it("have pages with code", () => {
    expect(PAGES.length).toBeGreaterThanOrEqual(7);
  });

  it.each(PAGES)("%s compiles", { timeout: 60_000 }, (page) => {
    const blocks = blocksOf(page);
    expect(blocks.length).toBeGreaterThan(0);
    expect(new Set(blocks.map(({ file }) => file)).size, "two blocks of one name").toBe(blocks.length);
    const files = Object.fromEntries(blocks.map(({ file, text }) => [file, text]));
    expect(check(page.replace(".md", ""), files)).toBe("");
  });

  it.each(["LICENSE-MIT", "LICENSE-APACHE"])("the package has %s of the repository", (name) => {
    const text = (...place: string[]) => readFileSync(join(PACKAGE, ...place, name), "utf8");
    expect(text()).toBe(text(".."));
  });

  it("would not compile with a mistake", { timeout: 60_000 }, () => {
    const mistake =
      'import type { Client } from "pgherald";\nexport const origin = (client: Client) => client.origins;';
    expect(check("mistake", { "mistake.ts": mistake })).toContain("origins");
  });

  it.each(PAGES)("%s links to what is there", (page) => {
    const markdown = readFileSync(join(PACKAGE, "docs", page), "utf8");
    for (const [, target = "", heading] of markdown.matchAll(/\]\(([\w./-]*\.md)?(?:#([\w-]+))?\)/g)) {
      const file = join(PACKAGE, "docs", target === "" ? page : target);
      expect(existsSync(file), `${page}: ${target}`).toBe(true);
      if (heading !== undefined) expect(headingsOf(file), `${page}: ${target}`).toContain(heading);
    }
  });
});

/** As they are in links. */
function headingsOf(file: string): string[] {
  return [...readFileSync(file, "utf8").matchAll(/^#+ (.*)$/gm)].map(([, text = ""]) =>
    text
      .toLowerCase()
      .replace(/[^\w\s-]/g, "")
      .replace(/\s/g, "-"),
  );
}
