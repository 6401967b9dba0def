import { describe, expect } from "vitest";
import type { HeraldEvent } from "../../src/index.js";
import { it, live, refetches, token, told, until } from "../world.js";

describe.concurrent("changes", () => {
  it("tells of each change of the projects that were asked for, and of no other", async ({ world }) => {
    const data = await world.database();
    await data.run("insert into project_members values (8, 'alice', 'member')");
    const page = world.client((await world.daemon(data.url)).address);
    const seven: HeraldEvent[] = [];
    const stop = page.client.subscribe("7", (event) => seven.push(event));
    await live(page);
    expect(refetches(page)).toEqual(["subscribed"]);
    await data.run("update tasks set done = true");
    await until("task 2", () => told(page).length === 2);
    expect(seven).toContainEqual(
      expect.objectContaining({ type: "change", resource: "task", ids: ["1", "2"], action: "UPDATE", projectId: "7" }),
    );

    page.client.subscribe("8", () => {});
    await until("8 to be live", () => page.client.project("8") === "live");
    expect(page.client.status.state).toBe("live");
    await data.run("update tasks set done = false");
    await until("task 3", () => told(page).includes("3"));
    stop();
    await until("7 to be left", () => page.client.project("7") === "none");
    const before = seven.length;
    await data.run("update tasks set done = true");
    await data.run("update tasks set title = 'last' where id = 3");
    await until("the last change", () => told(page).filter((id) => id === "3").length === 3);
    expect(seven).toHaveLength(before);
    expect(told(page).filter((id) => id === "1")).toHaveLength(2);
  });

  it("tells each listener what it asked for", async ({ world }) => {
    const data = await world.database();
    const page = world.client((await world.daemon(data.url)).address);
    const one: HeraldEvent[] = [];
    const sprints: HeraldEvent[] = [];
    page.client.subscribe("7", { topics: ["task:1"] }, (event) => one.push(event));
    await live(page);
    page.client.subscribe("7", { topics: ["sprint:*"] }, (event) => sprints.push(event));
    await until("the second listener to be told to fetch", () => sprints.length === 1);
    await data.run("update tasks set done = true where id = 2; update tasks set done = true where id = 1");
    await data.run("update sprints set name = 'Summer'");
    await until("the sprint", () => sprints.length === 2);
    expect(one.map((event) => event.type === "change" && [event.resource, event.ids])).toEqual([
      false,
      ["task", ["1"]],
    ]);
    expect(sprints[1]).toMatchObject({ resource: "sprint", action: "UPDATE" });
    expect(told(page)).toEqual(["1"]);
  });

  it("carries included columns and the origin, and filters by them", async ({ world }) => {
    const data = await world.database();
    await data.run("select pgherald.watch('tasks', include => '{title,done}')");
    const page = world.client((await world.daemon(data.url)).address, { origin: "tab-1" });
    page.client.subscribe("7", { filter: { done: true } }, () => {});
    await live(page);
    expect(page.client.origin).toBe("tab-1");
    await data.run("update tasks set title = 'no' where id = 2");
    await data.run("begin; set local pgherald.origin = 'tab-1'; update tasks set done = true where id = 1; commit");
    await until("the change", () => told(page).length > 0);
    expect(page.events.at(-1)).toMatchObject({
      ids: ["1"],
      origin: "tab-1",
      rows: [{ title: "Write the landing page", done: true }],
    });
  });

  it("asks for nothing anew when a listener leaves and comes back at once", async ({ world }) => {
    const data = await world.database();
    const near = await world.network((await world.daemon(data.url)).address);
    const page = world.client(near.address);
    const stop = page.client.subscribe("7", () => {});
    await live(page);
    stop();
    page.client.subscribe("7", () => {});
    await data.run("update tasks set done = true where id = 1");
    await until("the change", () => told(page).length === 1);
    expect(page.statuses.filter(({ state }) => state === "stale")).toEqual([]);
    expect(near.count).toBe(1);
  });

  it("is refused a project of others, and hears the rest", async ({ world }) => {
    const data = await world.database();
    const page = world.client((await world.daemon(data.url)).address);
    const bobs: HeraldEvent[] = [];
    page.client.subscribe("8", (event) => bobs.push(event));
    page.client.subscribe("7", () => {});
    await until("the refusal", () => bobs.length > 0);
    expect(bobs).toEqual([
      { type: "refused", projectId: "8", code: "forbidden", message: expect.stringContaining("not a member") },
    ]);
    await until("7 to be live", () => page.client.project("7") === "live");
    expect([page.client.project("7"), page.client.project("8")]).toEqual(["live", "refused"]);
    await data.run("update tasks set done = true");
    await until("the change", () => told(page).length === 2);
    expect(told(page)).toEqual(["1", "2"]);
    // A member by now, and the daemon has heard of it when it tells what was committed later.
    await data.run("insert into project_members values (8, 'alice', 'member')");
    await data.run("update tasks set done = false where id = 1");
    await until("the next change", () => told(page).length === 3);
    page.client.subscribe("8", (event) => bobs.push(event));
    await until("8 to be live", () => page.client.project("8") === "live");
    expect(bobs.at(-1)).toMatchObject({ type: "refetch", reason: "subscribed" });
  });

  it("says that a project was taken away, and hears of it again later", async ({ world }) => {
    const data = await world.database();
    const page = world.client((await world.daemon(data.url)).address);
    page.client.subscribe("7", () => {});
    await live(page);
    await data.run("delete from project_members where user_id = 'alice'");
    await until("the revocation", () => page.client.project("7") === "revoked");
    expect(page.events.at(-1)).toEqual({ type: "revoked", projectId: "7", reason: "not_a_member" });
    await data.run("update tasks set done = true");
    await data.run("insert into project_members values (7, 'alice', 'member')");
    page.client.subscribe("7", () => {});
    await until("7 to be live", () => page.client.project("7") === "live");
    await data.run("update tasks set title = 'new' where id = 2");
    // A daemon that is late tells her of the first change too: she is a member by now.
    await until("the change", () => told(page).at(-1) === "2");
    expect(refetches(page)).toEqual(["subscribed", "subscribed"]);
  });

  it("passes on that everything may be stale", async ({ world }) => {
    const data = await world.database();
    const page = world.client((await world.daemon(data.url, { "limits.reconnect_spread": "50ms" })).address);
    page.client.subscribe("7", () => {});
    await live(page);
    await data.run(
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
    );
    await until("the refetch", () => refetches(page).length === 2);
    expect(refetches(page)).toEqual(["subscribed", "database_reconnected"]);
    await live(page);
    expect(page.statuses.some(({ state }) => state === "stale")).toBe(true);
  });

  it("harms no listener when another one throws", async ({ world }) => {
    const data = await world.database();
    const page = world.client((await world.daemon(data.url)).address);
    page.client.subscribe("7", () => {
      throw new Error("a listener of the test");
    });
    const heard: HeraldEvent[] = [];
    page.client.subscribe("7", (event) => heard.push(event));
    await until("the other", () => heard.length === 1);
    await data.run("update tasks set done = true where id = 1");
    await until("the change", () => heard.length === 2);
  });

  it("knows a token only by its first frame", async ({ world }) => {
    const data = await world.database();
    const near = await world.network((await world.daemon(data.url)).address);
    const requests: string[] = [];
    near.answer = (request) => void requests.push(request);
    const secret = token("alice");
    const page = world.client(near.address, { getToken: () => secret });
    page.client.subscribe("7", () => {});
    await live(page);
    expect(requests).toHaveLength(1);
    expect(requests.join()).not.toContain(secret.slice(0, 20));
  });
});
