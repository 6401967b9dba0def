/** A real Chromium, headless, and a small origin to open pages of. */

import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { test } from "vitest";
import { newWorld, type World } from "../world.js";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export interface Browser {
  /** Tabs share cookies, locks and channels. */
  readonly context: BrowserContext;
  /** A tab of an origin that serves the client as `window.pgherald`. */
  tab(): Promise<Page>;
  /** The address of that origin. */
  readonly origin: string;
}

async function open(cleanup: (undo: () => unknown) => void): Promise<Browser> {
  const bundle = await build({
    stdin: {
      contents: 'export * from "./src/index.js"; export * from "./src/shared.js";',
      resolveDir: fileURLToPath(new URL("../../", import.meta.url)),
    },
    bundle: true,
    format: "iife",
    globalName: "pgherald",
    write: false,
  });
  const script = bundle.outputFiles[0]?.text ?? "";
  const server = createServer((request, response) => {
    const code = request.url === "/client.js";
    response.setHeader("Content-Type", code ? "text/javascript" : "text/html");
    response.end(code ? script : '<!doctype html><title>A page</title><script src="/client.js"></script>');
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanup(() => {
    server.closeAllConnections();
    server.close();
  });
  const folder = mkdtempSync(join(tmpdir(), "pgherald-chromium-"));
  cleanup(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const executablePath = process.env.PGHERALD_TEST_CHROMIUM;
  if (!executablePath) throw new Error("there is no Chromium: run `make test-client`, which finds or installs one");
  const context = await chromium.launchPersistentContext(folder, {
    executablePath,
    args: FLAGS,
    viewport: { width: 1280, height: 800 },
  });
  cleanup(() => context.close());
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    context,
    origin,
    async tab() {
      const page = await context.newPage();
      await page.goto(origin);
      return page;
    },
  };
}

interface Fixtures {
  world: World;
  browser: Browser;
  /** Takes what is to be undone at the end of the test, the newest first. */
  cleanup: (undo: () => unknown) => void;
}

export const it = test.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: Vitest reads from it which fixtures this one needs.
  cleanup: async ({}, use) => {
    const undo: (() => unknown)[] = [];
    await use((step) => undo.push(step));
    for (const step of undo.reverse()) await step();
  },
  world: async ({ cleanup }, use) => use(newWorld(cleanup)),
  browser: async ({ cleanup }, use) => use(await open(cleanup)),
});
