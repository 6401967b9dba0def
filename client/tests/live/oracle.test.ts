/**
 * A page that does what it is told, and nothing else, ends up with what the database has: over random histories of writes,
 * cut and blocked networks, killed and restarted daemons, users that change and memberships that go and come.
 * `PGHERALD_CLIENT_SEED=5` replays a history, `PGHERALD_CLIENT_CASES=50` runs more of them.
 */

import { describe } from "vitest";
import type { HeraldEvent } from "../../src/index.js";
import { type Database, it, token, until, type World } from "../world.js";

const SEED = Number(process.env.PGHERALD_CLIENT_SEED ?? Math.floor(Math.random() * 2 ** 31));
const CASES = Number(process.env.PGHERALD_CLIENT_CASES ?? (process.env.PGHERALD_CLIENT_SEED ? 1 : 6));
const STEPS = 60;

/** The same numbers for the same seed (mulberry32). */
function randomness(seed: number) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    below: (bound: number) => Math.floor(next() * bound),
    pick: <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T,
  };
}

const TASKS = "select id, title, done from tasks where project_id = 7";

/** What a page holds: fetched when it is told, one fetch after the other. */
class Cache {
  readonly rows = new Map<string, string>();
  readonly #data: Database;
  #last = Promise.resolve();
  #waiting = 0;

  constructor(data: Database) {
    this.#data = data;
  }

  hear(event: HeraldEvent): void {
    if (event.type === "refetch") this.#fetch(null);
    if (event.type === "change" && event.resource === "task") this.#fetch(event.ids);
  }

  get idle(): boolean {
    return this.#waiting === 0;
  }

  #fetch(ids: readonly string[] | null): void {
    this.#waiting++;
    this.#last = this.#last.then(async () => {
      const found = await read(this.#data, ids);
      for (const id of ids ?? [...this.rows.keys()]) this.rows.delete(id);
      for (const [id, text] of found) this.rows.set(id, text);
      this.#waiting--;
    });
    // A test that has failed leaves the database while a fetch is on its way.
    this.#last.catch(() => {});
  }
}

async function read(data: Database, ids: readonly string[] | null): Promise<Map<string, string>> {
  const some = ids && ` and id in (${["0", ...ids].join()})`;
  const { rows } = await data.run(`${TASKS}${some ?? ""}`);
  return new Map(rows.map(({ id, title, done }) => [`${id}`, `${title} ${done}`]));
}

async function play(world: World, seed: number): Promise<void> {
  const { below, pick } = randomness(seed);
  const data = await world.database();
  await data.run("insert into project_members values (7, 'bob', 'member')");
  const settings = { "limits.reconnect_spread": "20ms", "limits.history_events": pick(["10000", "10000", "5"]) };
  const daemons = [await world.daemon(data.url, settings), await world.daemon(data.url, settings)];
  const near = await world.network(daemons[0]?.address ?? "");
  let user = "alice";
  const page = world.client(near.address, { getToken: () => token(user, pick([3600, 3600, 8])) });
  const cache = new Cache(data);
  const log: string[] = [`seed ${seed}`];
  const began = Date.now();
  const note = (text: string) => log.push(`${Date.now() - began} ${text}`);
  page.client.onStatus(({ state, reason }) => note(`  ${state}: ${reason}, ${page.client.project("7")}`));

  let leave: (() => void) | undefined;
  const enter = () => {
    leave?.();
    leave = page.client.subscribe("7", (event) => {
      note(`  ${JSON.stringify(event)}`);
      cache.hear(event);
    });
  };
  enter();

  const steps: Record<string, () => Promise<unknown> | unknown> = {
    insert: () => data.run(`insert into tasks (project_id, title) values (${pick([7, 7, 8])}, 'task ${below(1000)}')`),
    many: () =>
      data.run(`insert into tasks (project_id, title) select 7, 'many' from generate_series(1, ${below(400)})`),
    update: () => data.run(`update tasks set title = 'title ${below(1000)}' where id % 7 = ${below(7)}`),
    one: () => data.run(`update tasks set done = not done where id = ${pick([1, 2, 3, 1001, 1002])}`),
    delete: () => data.run(`delete from tasks where id % 11 = ${below(11)}`),
    move: () => data.run(`update tasks set project_id = 15 - project_id where id % 5 = ${below(5)}`),
    cut: () => near.cut(),
    close: () => {
      near.closed = !near.closed;
    },
    block: () => {
      const blocks = near.answer === undefined;
      near.answer = blocks
        ? (request) =>
            /^upgrade: websocket/im.test(request) ? "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n" : undefined
        : undefined;
      near.cut();
    },
    elsewhere: () => {
      near.target = pick(daemons).address;
      near.cut();
    },
    deafen: () =>
      data.run(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
      ),
    restart: async () => {
      const place = below(2);
      const old = daemons[place];
      await old?.kill(pick(["SIGTERM", "SIGKILL"]));
      const next = await world.daemon(data.url, settings);
      daemons[place] = next;
      if (near.target === old?.address) near.target = next.address;
    },
    user: () => {
      user = user === "alice" ? "bob" : "alice";
      page.client.reconnect();
    },
    members: async () => {
      await data.run(`delete from project_members where user_id = '${user}'`);
      if (below(2)) await data.run(`update tasks set title = 'unseen ${below(1000)}' where id = 1`);
      await data.run(`insert into project_members values (7, '${user}', 'member')`);
    },
    reconnect: () => page.client.reconnect(),
    again: () => enter(),
    others: () => {
      const stop = page.client.subscribe("7", { topics: [pick(["task:*", "task:1", "sprint:*"])] }, () => {});
      if (below(2)) setTimeout(stop, below(300));
    },
    wait: () => new Promise((resolve) => setTimeout(resolve, below(400))),
  };
  const names = Object.keys(steps);
  const often = ["insert", "update", "one", "one", "move", "wait", "wait", "cut"];
  for (let step = 0; step < STEPS; step++) {
    const name = pick(below(2) ? often : names);
    note(name);
    await steps[name]?.();
  }

  // The network is whole again, and nobody writes: what the page has comes to be what there is.
  near.closed = false;
  near.answer = undefined;
  // Only where it would wait for long: who comes back may be told to fetch everything, which hides what was lost.
  if (page.client.status.state !== "live") page.client.reconnect();
  const isLive = () => {
    // Who was told at last that the user had left asks again.
    if (page.client.project("7") === "revoked" || page.client.project("7") === "refused") enter();
    return page.client.project("7") === "live";
  };
  try {
    await until("a live page", isLive);
    const there = await read(data, null);
    await until("the page to have what there is", () => {
      const same = [...there].every(([id, text]) => cache.rows.get(id) === text);
      return isLive() && same && cache.rows.size === there.size && cache.idle;
    });
  } catch (error) {
    const there = await read(data, null);
    const wrong = [...there].filter(([id, text]) => cache.rows.get(id) !== text).slice(0, 5);
    const extra = [...cache.rows.keys()].filter((id) => !there.has(id)).slice(0, 5);
    const report = `${error}\nstale: ${wrong.join(" | ")}, gone: ${extra}\n${log.join("\n")}`;
    throw new Error(report.slice(0, 20_000));
  }
}

describe.concurrent("whatever happens, a page that does what it is told has what there is", () => {
  for (let seed = SEED; seed < SEED + CASES; seed++) {
    it(`PGHERALD_CLIENT_SEED=${seed}`, { timeout: 180_000 }, ({ world }) => play(world, seed));
  }
});
