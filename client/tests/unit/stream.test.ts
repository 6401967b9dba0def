import { afterEach, expect, it, vi } from "vitest";
import { openStream } from "../../src/stream.js";
import { token, until } from "../world.js";

afterEach(() => vi.unstubAllGlobals());

it("misses nothing between two streams of a project that has no cursor yet", async () => {
  const asked: URL[] = [];
  vi.stubGlobal("fetch", async (url: URL) => {
    asked.push(url);
    const body = new ReadableStream({
      start: (it) => it.enqueue(new TextEncoder().encode('data: {"type":"subscribed","project_id":"7"}\n\n')),
    });
    return new Response(body);
  });
  const heard: string[] = [];
  const link = openStream("ws://127.0.0.1/ws", undefined, {
    opened: () => link.send({ type: "auth", token: token("alice") }),
    heard: ({ type }) => heard.push(type),
    ended: () => heard.push("ended"),
  });
  await until("the session", () => heard.includes("authenticated"));
  link.send({ type: "subscribe", ref: "1", project_id: "7", topics: ["task:*"] });
  await until("the stream", () => heard.includes("subscribed"));
  link.send({ type: "subscribe", ref: "2", project_id: "7", topics: ["sprint:*", "task:*"] });
  expect(asked.map((url) => url.searchParams.get("since"))).toEqual([null, "0.0"]);
  link.close();
});

it("has no token in what it says of a failure", async () => {
  const ends: string[] = [];
  const link = openStream("ws://127.0.0.1:1/ws", undefined, {
    opened: () => link.send({ type: "auth", token: "a secret\nof two lines" }),
    heard: ({ type }) => type === "authenticated" && link.send({ type: "subscribe", project_id: "7" }),
    ended: (_, reason) => ends.push(reason),
  });
  await until("its end", () => ends.length > 0);
  expect(ends.join()).toMatch(/invalid/);
  expect(ends.join()).not.toContain("secret");
});
