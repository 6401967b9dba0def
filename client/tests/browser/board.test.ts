import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { describe, expect } from "vitest";
import { ROOT, until } from "../world.js";
import { it } from "./chromium.js";
import { demo } from "./demo.js";

/** `make images` keeps them in docs/images. */
const IMAGES = join(ROOT, process.env.PGHERALD_IMAGES ?? "target/images");
mkdirSync(IMAGES, { recursive: true });

/** Logs in, as a person would, and waits for a live board of project 7. */
async function enter(page: Page, board: string, user: string): Promise<void> {
  await page.goto(board);
  await page.getByTestId(`user-${user}`).check({ force: true });
  await page.getByTestId("project-7").check({ force: true });
  await page.getByTestId("login-submit").click();
  await settled(page);
}

const state = (page: Page) => page.getByTestId("status").getAttribute("data-state");
const fetches = async (page: Page) => Number((await page.getByTestId("fetches").innerText()).match(/\d+/)?.[0]);
const title = (page: Page, id: number) =>
  page.locator(`[data-testid=card][data-id="${id}"]`).getByTestId("title").innerText();
const column = (page: Page, id: number) =>
  page.locator(`[data-testid=card][data-id="${id}"]`).getAttribute("data-status");

/** Live, with cards, and nothing is being fetched any more. */
async function settled(page: Page): Promise<void> {
  await until("a live board", async () => (await state(page)) === "live");
  await page.getByTestId("card").first().waitFor();
  let before = -1;
  await until("no more fetches", async () => {
    const now = await fetches(page);
    const same = now === before;
    before = now;
    if (!same) await page.waitForTimeout(200);
    return same;
  });
}

describe.concurrent("the board", () => {
  it("shows within a second what psql has changed, in two windows", async ({ cleanup, browser }) => {
    const { board, run } = await demo(cleanup);
    const [one, two] = [await browser.context.newPage(), await browser.context.newPage()];
    await enter(one, board, "alice");
    await enter(two, board, "carol");
    // A busy machine may be late often; what waits for a click or a timer always is.
    const late: number[] = [];
    for (let round = 0; round < 30; round++) {
      const next = `Changed by psql, ${round}`;
      await run(`update tasks set title = '${next}' where id = 1`);
      const changed = Date.now();
      for (const page of [one, two]) {
        await until("the new title", async () => (await title(page, 1)) === next);
      }
      late.push(Date.now() - changed);
      if (late.some((ms) => ms < 1_000)) break;
    }
    expect(Math.min(...late)).toBeLessThan(1_000);
    await run("insert into tasks (project_id, title) values (7, 'Born in psql')");
    for (const page of [one, two]) await page.getByText("Born in psql").waitFor();
  });

  it("moves a card in the other window, and fetches nothing because of its own writes", async ({
    cleanup,
    browser,
  }) => {
    const { board } = await demo(cleanup);
    const [one, two] = [await browser.context.newPage(), await browser.context.newPage()];
    await enter(one, board, "alice");
    await enter(two, board, "carol");
    const [mine, theirs] = [await fetches(one), await fetches(two)];
    const card = one.locator('[data-testid=card][data-id="1"]');
    await card.getByTestId("move-on").click();
    await until("the other window to show it", async () => (await column(two, 1)) === "doing");
    await until("the other window's fetch", async () => (await fetches(two)) === theirs + 1);
    // A second write, and its arrival in the other window: an echo of the first would be here by now.
    await card.getByTestId("move-on").click();
    await until("the other window to show it", async () => (await column(two, 1)) === "done");
    await settled(one);
    expect([await column(one, 1), await fetches(one)]).toEqual(["done", mine]);
    await one.screenshot({ path: join(IMAGES, "board.png") });
    await one.emulateMedia({ colorScheme: "dark" });
    await one.screenshot({ path: join(IMAGES, "board-dark.png") });
  });

  it.for(["answer", "request"])(
    "two moves in a row end in the last column, however late the first %s is",
    async (late, { cleanup, browser }) => {
      const { board, run } = await demo(cleanup);
      const page = await browser.context.newPage();
      await enter(page, board, "alice");
      const first = page.locator('[data-testid=card][data-status="todo"]').first();
      const id = Number(await first.getAttribute("data-id"));
      let writes = 0;
      await page.route(`**/tasks/${id}`, async (route) => {
        writes += 1;
        const slow = writes === 1;
        if (slow && late === "request") await page.waitForTimeout(500);
        const response = await route.fetch();
        if (slow && late === "answer") await page.waitForTimeout(500);
        await route.fulfill({ response });
      });
      const card = page.locator(`[data-testid=card][data-id="${id}"]`);
      await card.getByTestId("move-on").click();
      await card.getByTestId("move-on").click();
      // A click shows when the page has come to it; from then on nothing may take it back.
      await until("the second move to show", async () => (await column(page, id)) === "done");
      const seen = new Set<string | null>();
      let written = false;
      await until("both writes", async () => {
        seen.add(await column(page, id));
        const before = written;
        written = (await run(`select from tasks where id = ${id} and done`)).rowCount === 1;
        await page.waitForTimeout(before ? 700 : 5);
        return before && writes === 2;
      });
      seen.add(await column(page, id));
      expect([...seen]).toEqual(["done"]);
    },
  );

  it("catches up when the network has been away", async ({ cleanup, browser }) => {
    const { board, run, child } = await demo(cleanup);
    const page = await browser.context.newPage();
    await enter(page, board, "alice");
    // Nothing answers any more, and nobody says so.
    child.kill("SIGSTOP");
    await browser.context.setOffline(true);
    await until("the loss", async () => (await state(page)) === "stale");
    await page.getByTestId("stale-bar").waitFor({ state: "visible" });
    await run("update tasks set title = 'Missed' where id = 2");
    child.kill("SIGCONT");
    await browser.context.setOffline(false);
    await until("what was missed", async () => (await title(page, 2)) === "Missed");
    await settled(page);
  });

  it("catches up when PostgreSQL has restarted", async ({ cleanup, browser }) => {
    const { board, run } = await demo(cleanup);
    const page = await browser.context.newPage();
    await enter(page, board, "alice");
    // A server process that is killed makes PostgreSQL end all the others and recover, as after a crash.
    const { rows } = await run(
      "select pid from pg_stat_activity where pid <> pg_backend_pid() and datname is not null",
    );
    process.kill(rows[0].pid, "SIGKILL");
    await until("a statement", async () => {
      try {
        await run("update tasks set title = 'After the crash' where id = 1");
        return true;
      } catch {
        return false;
      }
    });
    await until("the change", async () => (await title(page, 1)) === "After the crash");
    await settled(page);
  });

  it("hears what it slept through", async ({ cleanup, browser }) => {
    const { board, run } = await demo(cleanup);
    const page = await browser.context.newPage();
    await enter(page, board, "alice");
    const session = await browser.context.newCDPSession(page);
    await session.send("Page.setWebLifecycleState", { state: "frozen" });
    await run("update tasks set title = 'While it slept' where id = 1");
    await session.send("Page.setWebLifecycleState", { state: "active" });
    await until("the change", async () => (await title(page, 1)) === "While it slept");
    expect(await state(page)).toBe("live");
  });

  it("lives on when its token has expired", async ({ cleanup, browser }) => {
    const { board, run } = await demo(cleanup, ["--token-ttl", "12s"]);
    const page = await browser.context.newPage();
    const states = new Set<string | null>();
    await enter(page, board, "alice");
    const began = Date.now();
    await until("two lifetimes", async () => {
      states.add(await state(page));
      return Date.now() - began > 26_000;
    });
    expect([...states]).toEqual(["live"]);
    await run("update tasks set title = 'Much later' where id = 1");
    await until("the change", async () => (await title(page, 1)) === "Much later");
  });
});

describe.concurrent("the inspector", () => {
  it("shows the frames of the demo, and keeps the token out of sight", async ({ cleanup, browser }) => {
    const { inspector, run } = await demo(cleanup);
    const page = await browser.context.newPage();
    const problems: string[] = [];
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    await page.goto(inspector);
    await page.locator("body[data-state=live] #projects li[data-state=live]").first().waitFor();
    expect(page.url()).not.toContain("token");
    const changes = page.locator("tbody.frame[data-type=cache_invalidate]");
    for (let round = 0; round < 5; round++) {
      await run(`update tasks set title = 'Round ${round}' where id in (1, 2)`);
    }
    await until("the frames", async () => (await changes.count()) === 10);
    expect(await page.locator("#latency-p50").innerText()).toMatch(/\d/);

    await page.locator("#filter").fill("sprint");
    await until("none to fit", async () => (await changes.locator("visible=true").count()) === 0);
    await page.locator("#filter").fill("");
    await page.locator("#pause").click();
    await run("update tasks set title = 'Unseen' where id = 1");
    await until("one to wait", async () => /1/.test(await page.locator("#waiting").innerText()));
    expect(await changes.count()).toBe(10);
    await page.locator("#pause").click();
    await until("it to be shown", async () => (await changes.count()) === 11);

    // By keyboard.
    await changes.first().locator("button.open").focus();
    await page.keyboard.press("Enter");
    expect(JSON.parse(await changes.first().locator(".detail pre").innerText())).toMatchObject({ resource: "task" });
    await page.keyboard.press("Enter");
    await page.screenshot({ path: join(IMAGES, "inspector.png") });
    await page.emulateMedia({ colorScheme: "dark" });
    await page.screenshot({ path: join(IMAGES, "inspector-dark.png") });
    expect(problems).toEqual([]);
  });
});
