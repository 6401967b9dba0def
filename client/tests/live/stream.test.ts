import { describe, expect } from "vitest";
import type { HeraldEvent } from "../../src/index.js";
import { begin, it, live, type Network, refetches, token, told, until } from "../world.js";

/** Lets no WebSocket through. */
function blocked(near: Network): Network {
  near.answer = (request) =>
    /^upgrade: websocket/im.test(request) ? "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" : undefined;
  return near;
}

describe.concurrent("where no WebSocket gets through", () => {
  it("falls back to event streams and goes on there", async ({ world }) => {
    const data = await world.database();
    await data.run("insert into project_members values (8, 'alice', 'member')");
    const near = blocked(await world.network((await world.daemon(data.url)).address));
    const page = world.client(near.address);
    page.client.subscribe("7", { topics: ["task:*", "sprint:*"] }, () => {});
    page.client.subscribe("8", () => {});
    for (const project of ["7", "8"]) await until("a live project", () => page.client.project(project) === "live");
    expect(page.client.status).toMatchObject({ transport: "event-stream", subject: "alice" });
    await data.run("update tasks set done = true");
    await until("the changes", () => told(page).length === 3);
    expect(refetches(page)).toEqual(["subscribed", "subscribed"]);
    near.cut();
    await data.run("update tasks set done = false where id = 2");
    await until("what was missed", () => told(page).length === 4);
    await live(page);
    expect(told(page).sort()).toEqual(["1", "2", "2", "3"]);
    expect(refetches(page)).toEqual(["subscribed", "subscribed"]);
  });

  it("renews the token, and ends with an expired login", async ({ world }) => {
    const data = await world.database();
    const near = blocked(await world.network((await world.daemon(data.url, { "auth.leeway": "1s" })).address));
    let login: string | undefined;
    const page = world.client(near.address, { getToken: () => login ?? token("alice", 8) });
    await begin(page, data);
    const began = Date.now();
    await until("more than its lifetime", () => Date.now() - began > 9_500);
    await data.run("update tasks set done = true where id = 1");
    await until("the change", () => told(page).length === 1);
    expect(refetches(page)).toEqual([]);
    login = token("alice", 1);
    await until("its end", () => page.client.status.state === "closed");
    expect(page.client.status).toMatchObject({ code: 4401 });
  });

  it("is refused and revoked as over a WebSocket", async ({ world }) => {
    const data = await world.database();
    const near = blocked(await world.network((await world.daemon(data.url)).address));
    const page = world.client(near.address);
    page.client.subscribe("7", () => {});
    page.client.subscribe("8", () => {});
    await until("the refusal", () => page.client.project("8") === "refused");
    await live(page);
    await data.run("delete from project_members where user_id = 'alice'");
    await until("the revocation", () => page.client.project("7") === "revoked");
    expect(page.client.status.state).toBe("live");
  });

  it("uses a WebSocket again when there is one", async ({ world }) => {
    const data = await world.database();
    const near = blocked(await world.network((await world.daemon(data.url)).address));
    const page = world.client(near.address);
    await begin(page, data);
    near.answer = undefined;
    near.cut();
    await until(
      "a WebSocket",
      () => page.client.status.state === "live" && page.client.status.transport === "websocket",
    );
    expect(refetches(page)).toEqual([]);
  });

  it("needs no WebSocket at all", async ({ world }) => {
    const data = await world.database();
    const { address } = await world.daemon(data.url);
    const page = world.client(address, {
      WebSocket: undefined as never,
    });
    await begin(page, data);
    expect(page.client.status).toMatchObject({ transport: "event-stream" });
  });

  it("passes on texts with any kind of line separator", async ({ world }) => {
    const data = await world.database();
    await data.run("select pgherald.watch('tasks', include => '{title}')");
    const near = blocked(await world.network((await world.daemon(data.url)).address));
    const page = world.client(near.address);
    await begin(page, data);
    await data.run("update tasks set title = U&'a\\2028b\\2029c\\0085d' where id = 1");
    await until("the change", () => told(page).length === 1);
    expect(page.events).toMatchObject([{ rows: [{ title: "a\u2028b\u2029c\u0085d" }] }]);
    expect(page.statuses.filter(({ state }) => state === "stale")).toEqual([]);
  });

  it("says that a project was taken away while the token was renewed", async ({ world }) => {
    const data = await world.database();
    const near = blocked(await world.network((await world.daemon(data.url)).address));
    const page = world.client(near.address, { getToken: () => token("alice", 6) });
    await begin(page, data);
    const body = JSON.stringify({ error: "forbidden", message: "not a member of this project" });
    near.answer = (request) =>
      request.startsWith("GET /events")
        ? `HTTP/1.1 403 No\r\nContent-Length: ${body.length}\r\n\r\n${body}`
        : undefined;
    await until("the revocation", () => page.client.project("7") === "revoked");
    expect(page.events).toEqual([{ type: "revoked", projectId: "7", reason: "forbidden" }]);
  });

  it("becomes another user's when its renewal says so", async ({ world }) => {
    const data = await world.database();
    await data.run("insert into project_members values (7, 'bob', 'member')");
    const near = blocked(await world.network((await world.daemon(data.url)).address));
    let user = "alice";
    const page = world.client(near.address, { getToken: () => token(user, 6) });
    await begin(page, data);
    user = "bob";
    await until("the refetch", () => refetches(page).length === 1);
    expect(refetches(page)).toEqual(["user_changed"]);
    await until("bob", () => page.client.status.state === "live" && page.client.status.subject === "bob");
  });

  it("asks for rows whose key has a comma", async ({ world }) => {
    const data = await world.database();
    await data.run(
      "create table notes (name text primary key, project_id bigint); select pgherald.watch('notes', 'project_id')",
    );
    const near = blocked(await world.network((await world.daemon(data.url)).address));
    const page = world.client(near.address);
    const heard: HeraldEvent[] = [];
    page.client.subscribe("7", { topics: ["note:a,note:b"] }, (event) => heard.push(event));
    await live(page);
    await data.run("insert into notes values ('a,note:b', 7)");
    await until("the note", () => heard.length === 2);
    expect(heard[1]).toMatchObject({ resource: "note", ids: ["a,note:b"] });
  });

  it("is tried where a WebSocket is never answered", async ({ world }) => {
    const data = await world.database();
    const page = world.client((await world.daemon(data.url)).address, {
      WebSocket: class {
        send() {}
        close() {}
      } as never,
    });
    page.client.subscribe("7", () => {});
    await until("an event stream", () => page.client.status.state === "live", 60_000);
    expect(page.client.status).toMatchObject({ transport: "event-stream" });
  });
});
