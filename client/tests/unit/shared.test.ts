/** A tab that shares a connection, beside a leader that says, in one moment, exactly what a test wants. */

import { afterEach, expect, it, vi } from "vitest";
import type { HeraldEvent, Status } from "../../src/index.js";
import { createSharedClient } from "../../src/shared.js";
import { until } from "../world.js";

const undo: (() => void)[] = [];
afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
  vi.unstubAllGlobals();
});

const name = "wss://herald.example.com/ws";

/** A tab that never leads, and what it says. */
function tab() {
  vi.stubGlobal("navigator", {
    locks: {
      request: (lock: string, _: object, granted: () => Promise<void>) =>
        lock === `pgherald ${name}` ? new Promise(() => {}) : Promise.resolve().then(granted),
    },
  });
  const leader = new BroadcastChannel(`pgherald ${name}`);
  undo.push(() => leader.close());
  const said: { type: string; tab: string; wishes: { id: number; options: { since?: string } }[] }[] = [];
  leader.onmessage = (message) => said.push((message as MessageEvent).data);
  const client = createSharedClient({ url: name, getToken: () => null });
  undo.push(() => client.close());
  const events: HeraldEvent[] = [];
  client.subscribe("7", (event) => events.push(event));
  let number = 0;
  return {
    client,
    events,
    said,
    /** Says it, and waits for what the tab answers to another leader: from where it goes on. */
    async nextLeader() {
      const before = said.length;
      leader.postMessage({ type: "leading" });
      await until("its wishes", () => said.length > before);
      return said.at(-1)?.wishes[0]?.options.since;
    },
    state: (status: Status, cursor: string) =>
      leader.postMessage({ type: "state", status, projects: [["7", "live", cursor]] }),
    tell: (event: HeraldEvent) =>
      leader.postMessage({ type: "told", tab: said.at(-1)?.tab, id: 1, event, number: ++number }),
  };
}

const live = (subject: string) => ({ state: "live", reason: "", transport: "websocket", subject }) as const;
const refetch = { type: "refetch", projectId: "7", reason: "subscribed" } as const;

it("goes on from nowhere before it was told to fetch", async () => {
  const { said, tell, nextLeader, events } = tab();
  await until("its wishes", () => said.length > 0);
  // The project was heard already, for others, who wanted less.
  tell({ type: "change", projectId: "7", resource: "task", action: "UPDATE", ids: ["1"], cursor: "5.0" });
  await until("the change", () => events.length === 1);
  expect(await nextLeader()).toBeUndefined();
  tell(refetch);
  expect(await nextLeader()).toBe("5.0");
});

it("goes on where it was when it was closed, and not where others are now", async () => {
  const { said, tell, state, nextLeader, client } = tab();
  await until("its wishes", () => said.length > 0);
  state(live("alice"), "5.0");
  tell(refetch);
  expect(await nextLeader()).toBe("5.0");
  client.close();
  client.reconnect();
  state(live("alice"), "9.0");
  expect(await nextLeader()).toBe("5.0");
});

it("is told to fetch when the next leader is somebody else's", async () => {
  const { said, tell, state, nextLeader, events } = tab();
  await until("its wishes", () => said.length > 0);
  state(live("alice"), "5.0");
  tell(refetch);
  await nextLeader();
  state(live("bob"), "6.0");
  state(live("bob"), "6.0");
  await nextLeader();
  expect(events).toEqual([refetch, { ...refetch, reason: "user_changed" }]);
});

it("says nothing any more of what it led before", async () => {
  const gone: (() => void)[] = [];
  vi.stubGlobal("navigator", {
    locks: {
      request: async (lock: string, ...rest: (() => void)[]) =>
        lock.endsWith("another") ? gone.push(rest.at(-1) as () => void) : rest.at(-1)?.(),
    },
  });
  const other = new BroadcastChannel(`pgherald ${name}`);
  undo.push(() => other.close());
  const said: { type: string; status?: Status }[] = [];
  other.onmessage = (message) => said.push((message as MessageEvent).data);
  const client = createSharedClient({ url: name, getToken: () => new Promise(() => {}) });
  undo.push(() => client.close());
  client.reconnect();
  await until("a leader", () => said.some(({ type }) => type === "leading"));
  other.postMessage({ type: "wishes", tab: "another", wishes: [] });
  await until("the leader to know the tab", () => gone.length === 1);
  client.close();
  client.reconnect();
  await until("the next leader", () => said.filter(({ type }) => type === "leading").length === 2);
  // The tab has gone, of which the former leader was to hear.
  gone[0]?.();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(said.filter(({ status }) => status?.state === "closed")).toEqual([]);
});
