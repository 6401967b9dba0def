import { describe, expect } from "vitest";
import type { TokenRequest } from "../../src/index.js";
import { begin, it, live, refetches, token, told, until } from "../world.js";

describe.concurrent("a session", () => {
  it("goes on where it was after its socket was killed", async ({ world }) => {
    const data = await world.database();
    const near = await world.network((await world.daemon(data.url)).address);
    const page = world.client(near.address);
    await begin(page, data);
    for (let round = 0; round < 5; round++) {
      await data.run(`update tasks set title = '${round}a' where id = 1`);
      near.cut();
      await data.run(`update tasks set title = '${round}b' where id in (1, 2)`);
      near.cut();
    }
    await data.run("update tasks set title = 'last' where id = 2");
    await until("all changes", () => told(page).length >= 16);
    expect(told(page)).toEqual([...Array(5).fill(["1", "1", "2"]).flat(), "2"]);
    expect(refetches(page)).toEqual([]);
    expect(page.statuses.some(({ state }) => state === "stale")).toBe(true);
  });

  it("fetches after a loss before there was a first cursor", async ({ world }) => {
    const data = await world.database();
    const near = await world.network((await world.daemon(data.url)).address);
    const page = world.client(near.address);
    page.client.subscribe("7", () => {});
    await live(page);
    expect(page.client.cursor("7")).toBeUndefined();
    near.closed = true;
    near.cut();
    await data.run("update tasks set done = true where id = 1");
    near.closed = false;
    await until("the refetch", () => refetches(page).length === 2);
    expect(refetches(page)).toEqual(["subscribed", "history_gap"]);
  });

  it("goes on at another daemon", async ({ world }) => {
    const data = await world.database();
    const [one, other] = [await world.daemon(data.url), await world.daemon(data.url)];
    const near = await world.network(one.address);
    const page = world.client(near.address);
    await begin(page, data);
    const witness = world.client(other.address);
    witness.client.subscribe("7", () => {});
    await live(witness);
    await data.run("update tasks set done = true where id = 2");
    for (const heard of [page, witness]) await until("the first change", () => told(heard).includes("2"));
    near.target = other.address;
    near.cut();
    await data.run("update tasks set done = true where id = 1");
    await until("the second change", () => told(page).length === 2);
    expect(refetches(page)).toEqual([]);
  });

  it("fetches after a restart of the only daemon, which has forgotten", async ({ world }) => {
    const data = await world.database();
    const first = await world.daemon(data.url);
    const near = await world.network(first.address);
    const page = world.client(near.address);
    await begin(page, data);
    await first.kill("SIGTERM");
    await data.run("update tasks set done = true where id = 1");
    await until("the loss", () => page.client.status.state === "stale");
    near.target = (await world.daemon(data.url, { "limits.reconnect_spread": "50ms" })).address;
    await until("the refetch", () => refetches(page).length === 1);
    expect(refetches(page)).toEqual(["history_gap"]);
    await live(page);
    await data.run("update tasks set done = true where id = 2");
    await until("the change", () => told(page).length === 1);
  });

  it("renews its token in mid-stream", async ({ world }) => {
    const data = await world.database();
    const { address } = await world.daemon(data.url, { "auth.leeway": "3s" });
    const asked: TokenRequest["reason"][] = [];
    const page = world.client(address, {
      getToken: ({ reason }) => {
        asked.push(reason);
        return token("alice", 8);
      },
    });
    await begin(page, data);
    const began = Date.now();
    await until("two lifetimes", () => Date.now() - began > 18_000);
    await data.run("update tasks set done = true where id = 1");
    await until("the change", () => told(page).length === 1);
    expect(asked.slice(0, 3)).toEqual(["connect", "renew", "renew"]);
    expect(page.statuses.at(-1)?.state).toBe("live");
    expect(page.statuses.filter(({ state }) => state === "stale")).toEqual([]);
  });

  it("ends with an expired login, and begins again after a new one", async ({ world }) => {
    const data = await world.database();
    const { address } = await world.daemon(data.url, { "auth.leeway": "1s" });
    let login = token("alice", 8);
    const page = world.client(address, { getToken: () => login });
    await begin(page, data);
    await until("its end", () => page.client.status.state === "closed");
    expect(page.client.status).toMatchObject({ code: 4401, reason: expect.stringContaining("login") });
    await data.run("update tasks set done = true where id = 1");
    login = token("alice");
    page.client.reconnect();
    await until("what was missed", () => told(page).length === 1);
    await live(page);
    expect(refetches(page)).toEqual([]);
  });

  it("does not come back with a token that was refused", async ({ world }) => {
    const data = await world.database();
    const near = await world.network((await world.daemon(data.url)).address);
    const page = world.client(near.address, { getToken: () => "no token" });
    page.client.subscribe("7", () => {});
    await until("its end", () => page.client.status.state === "closed");
    expect(page.client.status).toMatchObject({ code: 4401 });
    expect(near.count).toBe(1);
  });

  it("ends when nobody is logged in, and is somebody else's after the next login", async ({ world }) => {
    const data = await world.database();
    await data.run("insert into project_members values (7, 'bob', 'member')");
    const { address } = await world.daemon(data.url);
    let login: string | null = token("alice");
    const page = world.client(address, { getToken: () => login });
    await begin(page, data);
    login = null;
    page.client.reconnect();
    await until("its end", () => page.client.status.state === "closed");
    expect(page.client.status).toEqual({ state: "closed", reason: "nobody is logged in" });
    login = token("bob");
    page.client.reconnect();
    await until("bob", () => page.client.status.state === "live" && page.client.status.subject === "bob");
    expect(refetches(page)).toEqual(["user_changed"]);
  });

  it("becomes another user's when its renewal says so", async ({ world }) => {
    const data = await world.database();
    await data.run("insert into project_members values (7, 'bob', 'member')");
    const { address } = await world.daemon(data.url);
    let user = "alice";
    const page = world.client(address, { getToken: () => token(user, 7) });
    await begin(page, data);
    user = "bob";
    await until("bob", () => page.client.status.state === "live" && page.client.status.subject === "bob");
    await until("the refetch", () => refetches(page).length === 1);
    expect(refetches(page)).toEqual(["user_changed"]);
  });

  it("asks again when getToken fails", async ({ world }) => {
    const data = await world.database();
    let failures = 2;
    const page = world.client((await world.daemon(data.url)).address, {
      getToken: async () => {
        if (failures-- > 0) throw new Error("the login server is away");
        return token("alice");
      },
    });
    await begin(page, data);
    expect(failures).toBe(-1);
    expect(page.statuses.map(({ reason }) => reason).join()).toContain("the login server is away");
  });

  it("notices a network that has gone without a word", { timeout: 120_000 }, async ({ world }) => {
    const data = await world.database();
    const near = await world.network((await world.daemon(data.url)).address);
    const page = world.client(near.address);
    await begin(page, data);
    near.silence();
    await data.run("update tasks set done = true where id = 1");
    await until("the loss", () => page.client.status.state === "stale", 60_000);
    near.heal();
    await until("what was missed", () => told(page).length === 1);
    expect(refetches(page)).toEqual([]);
  });

  it("comes back however long nobody lets it in", async ({ world }) => {
    const data = await world.database();
    const near = await world.network((await world.daemon(data.url)).address);
    const page = world.client(near.address, { eventsUrl: false });
    await begin(page, data);
    near.closed = true;
    near.cut();
    await until("some attempts", () => near.count > 4);
    expect(page.client.status).toMatchObject({ state: "stale", reason: expect.any(String) });
    near.closed = false;
    await live(page);
    expect(refetches(page)).toEqual([]);
  });

  it("stays away when an administrator has closed it", async ({ world }) => {
    const data = await world.database();
    const { address } = await world.daemon(data.url, { "auth.admin_scope": "admin" });
    const page = world.client(address);
    await begin(page, data);
    const answer = await fetch(`http://${address}/admin/subjects/alice`, {
      method: "DELETE",
      headers: { Authorization: `Bearer ${token("root", 60, { scope: "admin" })}` },
    });
    expect(answer.status).toBe(200);
    await until("its end", () => page.client.status.state === "closed");
    expect(page.client.status).toMatchObject({ code: 4403 });
  });

  it("ends with close, and is opened by the next subscription", async ({ world }) => {
    const data = await world.database();
    const page = world.client((await world.daemon(data.url)).address);
    await begin(page, data);
    page.client.close();
    expect(page.client.status).toMatchObject({ state: "closed" });
    await data.run("update tasks set done = true where id = 1");
    page.client.subscribe("7", () => {});
    await until("what was missed", () => told(page).length === 1);
  });
});
