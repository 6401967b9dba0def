import type { Page } from "playwright-core";
import { describe, expect } from "vitest";
import type * as pgherald from "../../src/index.js";
import type * as shared from "../../src/shared.js";
import { token, until } from "../world.js";
import { it } from "./chromium.js";

interface Tab {
  pgherald: typeof pgherald & typeof shared;
  client: pgherald.Client;
  events: pgherald.HeraldEvent[];
  states: string[];
  /** The tabs that have said what they want. */
  wishing: Set<string>;
}
declare const window: Tab;

/** Makes a client in a page, subscribed to project 7. */
async function begin(page: Page, address: string, how: "createClient" | "createSharedClient" = "createClient") {
  await page.evaluate(
    ([address, jwt, how]) => {
      const client = window.pgherald[how as typeof how & "createClient"]({
        url: `ws://${address}/ws`,
        getToken: () => jwt as string,
      });
      Object.assign(window, { client, events: [], states: [] });
      client.onStatus(({ state }) => window.states.at(-1) !== state && window.states.push(state));
      client.subscribe("7", (event) => window.events.push(event));
    },
    [address, token("alice"), how],
  );
  await until("a live client", () => page.evaluate(() => window.client.project("7") === "live"));
}

const told = (page: Page) =>
  page.evaluate(() => window.events.flatMap((event) => (event.type === "change" ? (event.ids ?? ["*"]) : [])));
const refetches = (page: Page) =>
  page.evaluate(() => window.events.flatMap((event) => (event.type === "refetch" ? [event.reason] : [])));

describe.concurrent("in Chromium", () => {
  it("tells of changes, and has no token in its address", async ({ world, browser }) => {
    const data = await world.database();
    const { address } = await world.daemon(data.url);
    const page = await browser.tab();
    const sockets: string[] = [];
    page.on("websocket", (socket) => sockets.push(socket.url()));
    await begin(page, address);
    await data.run("update tasks set done = true where id = 1");
    await until("the change", async () => (await told(page)).length === 1);
    expect(sockets).toEqual([`ws://${address}/ws`]);
  });

  it("goes on where it was when the network has gone and come back", async ({ world, browser }) => {
    const data = await world.database();
    const near = await world.network((await world.daemon(data.url)).address);
    const page = await browser.tab();
    await begin(page, near.address);
    await data.run("update tasks set done = true where id = 1");
    await until("the first change", async () => (await told(page)).length === 1);
    near.silence();
    await browser.context.setOffline(true);
    await data.run("update tasks set done = true where id = 2");
    await until("the loss", () => page.evaluate(() => window.client.status.state === "stale"));
    near.heal();
    await browser.context.setOffline(false);
    await until("what was missed", async () => (await told(page)).length === 2);
    expect(await told(page)).toEqual(["1", "2"]);
    expect(await refetches(page)).toEqual(["subscribed"]);
  });

  it("hears what it slept through", async ({ world, browser }) => {
    const data = await world.database();
    const near = await world.network((await world.daemon(data.url)).address);
    const page = await browser.tab();
    await begin(page, near.address);
    await data.run("update tasks set done = true where id = 1");
    await until("the first change", async () => (await told(page)).length === 1);
    const session = await browser.context.newCDPSession(page);
    await session.send("Page.setWebLifecycleState", { state: "frozen" });
    near.cut();
    await data.run("update tasks set done = true where id = 2");
    await session.send("Page.setWebLifecycleState", { state: "active" });
    await until("what was missed", async () => (await told(page)).length === 2);
    expect(await refetches(page)).toEqual(["subscribed"]);
  });

  it("falls back to event streams, of another origin", async ({ world, browser }) => {
    const data = await world.database();
    const near = await world.network((await world.daemon(data.url)).address);
    near.answer = (request) =>
      /^upgrade: websocket/im.test(request) ? "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" : undefined;
    const page = await browser.tab();
    await begin(page, near.address);
    expect(await page.evaluate(() => window.client.status)).toMatchObject({ transport: "event-stream" });
    await data.run("update tasks set done = true where id = 1");
    await until("the change", async () => (await told(page)).length === 1);
    near.cut();
    await data.run("update tasks set done = true where id = 2");
    await until("what was missed", async () => (await told(page)).length === 2);
    expect(await refetches(page)).toEqual(["subscribed"]);
  });

  it("works in a worker", async ({ world, browser }) => {
    const data = await world.database();
    const { address } = await world.daemon(data.url);
    const page = await browser.tab();
    await page.evaluate(
      ([address, jwt]) => {
        const code = `
          importScripts(${JSON.stringify(`${location.origin}/client.js`)});
          const client = pgherald.createClient({ url: "ws://${address}/ws", getToken: () => "${jwt}" });
          client.subscribe("7", (event) => postMessage(event));`;
        const worker = new Worker(URL.createObjectURL(new Blob([code])));
        Object.assign(window, { events: [], worker });
        worker.onmessage = ({ data }) => window.events.push(data);
      },
      [address, token("alice")],
    );
    await until("a live worker", async () => (await refetches(page)).length === 1);
    await data.run("update tasks set done = true where id = 1");
    await until("the change", async () => (await told(page)).length === 1);
  });

  it("resumes a plain EventSource", async ({ world, browser }) => {
    const data = await world.database();
    const near = await world.network((await world.daemon(data.url, { "auth.query_token": "true" })).address);
    const page = await browser.tab();
    await page.evaluate(
      ([address, jwt]) => {
        const source = new EventSource(`http://${address}/events?project_id=7&access_token=${jwt}`);
        Object.assign(window, { frames: [], source });
        source.onmessage = ({ data }) => (window as unknown as { frames: unknown[] }).frames.push(JSON.parse(data));
      },
      [near.address, token("alice")],
    );
    const frames = () =>
      page.evaluate(() =>
        (window as unknown as { frames: { type: string; data?: { id: string } }[] }).frames.map(
          ({ type, data }) => data?.id ?? type,
        ),
      );
    await until("the stream", async () => (await frames()).length === 1);
    await data.run("update tasks set done = true where id = 1");
    await until("the change", async () => (await frames()).length === 2);
    near.cut();
    await data.run("update tasks set done = true where id = 2");
    await until("what was missed", async () => (await frames()).length === 4);
    expect(await frames()).toEqual(["subscribed", "1", "2", "subscribed"]);
  });
});

describe.concurrent("tabs that share a connection", () => {
  it("have one, and go on where they were when its tab is closed", async ({ world, browser }) => {
    const data = await world.database();
    const near = await world.network((await world.daemon(data.url)).address);
    const tabs = [await browser.tab(), await browser.tab(), await browser.tab()] as const;
    for (const tab of tabs) await begin(tab, near.address, "createSharedClient");
    await data.run("update tasks set done = true where id = 1");
    for (const tab of tabs) await until("the change", async () => (await told(tab)).length === 1);
    expect(near.count).toBe(1);
    // The first one has the connection.
    const [first, ...others] = tabs;
    for (const tab of others) {
      await tab.evaluate((name) => {
        const wishing = new Set<string>();
        Object.assign(window, { wishing });
        new BroadcastChannel(name).onmessage = ({ data }) => data.type === "wishes" && wishing.add(data.tab);
      }, `pgherald ws://${near.address}/ws`);
    }
    // The next one knows what both want before it is connected.
    near.silence();
    await first.close();
    for (const tab of others) {
      await until("what they want", () => tab.evaluate(() => window.wishing.size === 2));
    }
    await data.run("update tasks set done = true where id = 2");
    near.heal();
    for (const tab of others) {
      await until("the next change", async () => (await told(tab)).length === 2);
      expect(await told(tab)).toEqual(["1", "2"]);
      expect(await refetches(tab)).toEqual(["subscribed"]);
    }
    expect(near.count).toBe(2);
  });

  it("tell who listens to everything nothing because one more asks for what is heard", async ({ world, browser }) => {
    const data = await world.database();
    const { address } = await world.daemon(data.url);
    const [first, second] = [await browser.tab(), await browser.tab()];
    for (const tab of [first, second]) {
      await begin(tab, address, "createSharedClient");
      await until("the first listener to be told", async () => (await refetches(tab)).length === 1);
      await tab.evaluate(() => {
        const all: string[] = [];
        Object.assign(window, { all });
        window.client.onEvent(({ type }) => all.push(type));
        window.client.subscribe("7", (event) => window.events.push(event));
      });
      await until("the second listener to be told", async () => (await refetches(tab)).length === 2);
      await tab.evaluate(
        () => void window.client.subscribe("7", { topics: ["task:1"] }, (event) => window.events.push(event)),
      );
      await until("the third listener to be told", async () => (await refetches(tab)).length === 3);
    }
    await data.run("update tasks set done = true where id = 1");
    for (const tab of [first, second]) {
      await until("the change", async () => (await told(tab)).length === 3);
      expect(await tab.evaluate(() => (window as unknown as { all: string[] }).all)).toEqual(["change"]);
    }
  });

  it("stop what a tab wanted that has gone", async ({ world, browser }) => {
    const data = await world.database();
    await data.run("insert into project_members values (8, 'alice', 'member')");
    const { address } = await world.daemon(data.url);
    const [first, second] = [await browser.tab(), await browser.tab()];
    await begin(first, address, "createSharedClient");
    await begin(second, address, "createSharedClient");
    await second.evaluate(() => void window.client.subscribe("8", () => {}));
    const subscriptions = async () => {
      const metrics = await (await fetch(`http://${address}/metrics`)).text();
      return metrics.match(/^pgherald_subscriptions (\d+)/m)?.[1];
    };
    await until("two subscriptions", async () => (await subscriptions()) === "2");
    await second.close();
    await until("one subscription", async () => (await subscriptions()) === "1");
  });
});
