/** A client against a daemon that says, in one moment, exactly what a test wants: what real ones do once in a million. */

import { afterEach, expect, it, vi } from "vitest";
import { type Client, type ClientOptions, createClient, type HeraldEvent } from "../../src/index.js";

interface Frame {
  type: string;
  ref?: string;
  since?: string;
  topics?: string[];
}

let sockets: Wire[] = [];

class Wire {
  readyState = 0;
  readonly sent: Frame[] = [];
  onopen?: () => void;
  onmessage?: (event: { data: string }) => void;
  onclose?: (event: { code: number; reason: string }) => void;

  constructor() {
    sockets.push(this);
    queueMicrotask(() => {
      this.readyState = 1;
      this.onopen?.();
    });
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.readyState = 3;
  }

  /** All in one moment, as frames of one packet are told in Node. */
  say(...frames: object[]): void {
    for (const frame of frames) this.onmessage?.({ data: JSON.stringify(frame) });
  }

  get questions(): Frame[] {
    return this.sent.filter(({ type }) => type === "subscribe");
  }
}

const made: Client[] = [];
afterEach(() => {
  for (const client of made.splice(0)) client.close();
  vi.useRealTimers();
});

function begin(options: Partial<ClientOptions> = {}): Client {
  sockets = [];
  const client = createClient({
    url: "ws://127.0.0.1/ws",
    getToken: () => "a token",
    WebSocket: Wire as never,
    eventsUrl: false,
    ...options,
  });
  made.push(client);
  return client;
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

/** The newest socket, with a session of `subject`. */
async function session(subject = "alice"): Promise<Wire> {
  await settle();
  const wire = sockets.at(-1) as Wire;
  wire.say({ type: "authenticated", subject, expires_at: Date.now() / 1000 + 3600 });
  await settle();
  return wire;
}

/** The connection is lost, and there is the next session. */
async function comeBack(client: Client, wire: Wire, subject?: string): Promise<Wire> {
  wire.onclose?.({ code: 1006, reason: "" });
  client.reconnect();
  return session(subject);
}

const subscribed = (ref: string | undefined, cursor?: string) => ({
  type: "subscribed",
  ref,
  project_id: "7",
  cursor,
});

const changed = (id: string, cursor: string) => ({
  type: "cache_invalidate",
  resource: "task",
  action: "UPDATE",
  project_id: "7",
  cursor,
  data: { ids: [id] },
});

const anew = (spread: number) => ({
  type: "reconnect",
  project_id: "7",
  data: { reason: "notification_dropped", spread_ms: spread },
});

it("asks for what a listener wants who came in the moment of the answer", async () => {
  const client = begin();
  const sprints: HeraldEvent[] = [];
  client.subscribe("7", { topics: ["task:*"] }, (event) => {
    if (event.type === "change") client.subscribe("7", { topics: ["sprint:*"] }, (event) => sprints.push(event));
  });
  const first = await session();
  first.say(subscribed("1", "1.0"));
  const second = await comeBack(client, first);
  // What was missed, and the answer.
  second.say(changed("1", "2.0"), subscribed(second.questions[0]?.ref, "3.0"));
  await settle();
  expect(second.questions.at(-1)?.topics).toEqual(["sprint:*", "task:*"]);
  expect(sprints).toEqual([]);
  second.say(subscribed(second.questions.at(-1)?.ref, "4.0"));
  expect(sprints).toMatchObject([{ type: "refetch" }]);
});

it("tells a listener to fetch whose cursor was not asked for in the end", async () => {
  const client = begin();
  const events: HeraldEvent[] = [];
  client.subscribe("7", { since: "5.0" }, (event) => events.push(event));
  const first = await session();
  expect(first.questions).toMatchObject([{ since: "5.0" }]);
  // It is lost before the answer, and now there are two.
  client.subscribe("7", () => {});
  const second = await comeBack(client, first);
  expect(second.questions[0]?.since).toBeUndefined();
  second.say(subscribed(second.questions[0]?.ref, "9.0"));
  expect(events).toMatchObject([{ type: "refetch", reason: "subscribed" }]);
});

it("asks for what it has missed until there is an answer", async () => {
  const client = begin();
  client.subscribe("7", { topics: ["task:*"] }, () => {});
  const first = await session();
  first.say(subscribed("1", "1.0"));
  const second = await comeBack(client, first);
  client.subscribe("7", () => {});
  await settle();
  const [one, two] = second.questions;
  // The first question fails, so nobody has told what was missed.
  second.say({ type: "error", ref: one?.ref, code: "unavailable", message: "" });
  expect([one?.since, two?.since]).toEqual(["1.0", "1.0"]);
});

it("gives nobody a cursor to go on from while a refetch waits for its moment", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const client = begin();
  const events: HeraldEvent[] = [];
  client.subscribe("7", (event) => events.push(event));
  const wire = await session();
  wire.say(subscribed("1", "1.0"), anew(2000), changed("1", "2.0"));
  expect(events.at(-1)).not.toHaveProperty("cursor");
  expect(client.cursor("7")).toBe("0.0");
  vi.advanceTimersByTime(2000);
  expect(events.at(-1)).toMatchObject({ type: "refetch", reason: "notification_dropped" });
  expect(client.cursor("7")).toBe("2.0");
});

it("lets no user go on from another one's cursor", async () => {
  const client = begin();
  const events: HeraldEvent[] = [];
  client.subscribe("7", { since: "5.0" }, (event) => events.push(event));
  const first = await session();
  first.say(subscribed("1", "6.0"));
  const second = await comeBack(client, first, "bob");
  expect(second.questions[0]?.since).toBeUndefined();
  second.say(subscribed(second.questions[0]?.ref, "7.0"));
  expect(events).toMatchObject([{ type: "refetch", reason: "user_changed" }]);
});

it("stays closed when a listener closes it", async () => {
  for (const reason of ["connecting", "the connection was lost"]) {
    const client = begin();
    client.onStatus((status) => status.reason === reason && client.close());
    client.subscribe("7", () => {});
    if (reason !== "connecting") {
      const wire = await session();
      vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
      wire.onclose?.({ code: 1006, reason: "" });
      vi.advanceTimersByTime(60_000);
    }
    const before = reason === "connecting" ? 0 : 1;
    await settle();
    expect(client.status.state).toBe("closed");
    expect(sockets).toHaveLength(before);
  }
});

it("calls no listener that another one has taken out", async () => {
  const client = begin();
  const heard: string[] = [];
  const stops: (() => void)[] = [];
  for (const name of ["a", "b"]) {
    stops.push(client.subscribe("7", () => heard.push(name)));
    client.subscribe("7", () => stops[0]?.());
  }
  stops.reverse();
  const wire = await session();
  wire.say(subscribed("1", "1.0"));
  expect(heard).toEqual(["a"]);
});

it("has no timer after close", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"] });
  const client = begin();
  client.subscribe("7", () => {});
  const wire = await session();
  wire.say({ type: "error", ref: "1", code: "unavailable", message: "" });
  expect(vi.getTimerCount()).toBeGreaterThan(0);
  client.close();
  expect(vi.getTimerCount()).toBe(0);
});

/** Time stands still, but for `setImmediate`, which lets promises settle. */
const freeze = () =>
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "performance"] });

it("tells to fetch after a random part of the spread, and once for all that came before", async () => {
  freeze();
  const random = vi.spyOn(Math, "random").mockReturnValue(0.6);
  const client = begin();
  const events: HeraldEvent[] = [];
  client.subscribe("7", (event) => events.push(event));
  const wire = await session();
  wire.say(subscribed("1", "1.0"));
  events.length = 0;
  wire.say(anew(10_000), anew(10_000));
  expect(client.status.state).toBe("stale");
  vi.advanceTimersByTime(5_900);
  expect(events).toEqual([]);
  vi.advanceTimersByTime(200);
  expect(events).toMatchObject([{ type: "refetch", reason: "notification_dropped" }]);
  expect(client.status.state).toBe("live");
  vi.advanceTimersByTime(10_000);
  expect(events).toHaveLength(1);
  random.mockRestore();
});

it("pings, and gives up a daemon that says nothing for ten seconds more", async () => {
  freeze();
  const client = begin();
  client.subscribe("7", () => {});
  const wire = await session();
  wire.say(subscribed("1", "1.0"));
  const pings = () => wire.sent.filter(({ type }) => type === "ping").length;
  vi.advanceTimersByTime(25_000);
  expect(pings()).toBe(1);
  wire.say({ type: "pong", cursor: "2.0" });
  expect(client.cursor("7")).toBe("2.0");
  vi.advanceTimersByTime(25_000);
  expect([pings(), client.status.state]).toEqual([2, "live"]);
  vi.advanceTimersByTime(9_900);
  expect(client.status.state).toBe("live");
  // not so soon that the next attempt has begun
  const random = vi.spyOn(Math, "random").mockReturnValue(0.6);
  vi.advanceTimersByTime(200);
  expect(client.status).toMatchObject({ state: "stale", reason: "the network is gone" });
  random.mockRestore();
});

it("takes what is no frame for something lost, and goes on from before it", async () => {
  const client = begin();
  client.subscribe("7", () => {});
  const first = await session();
  first.say(subscribed("1", "1.0"));
  first.onmessage?.({ data: '{"type":"cache_inval' });
  expect([first.readyState, client.status.state]).toEqual([3, "stale"]);
  client.reconnect();
  const second = await session();
  expect(second.questions[0]?.since).toBe("1.0");
});
