/** What a test needs of the world: a database of its own, real daemons beside it, a network that can fail. */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, createServer, connect as dial, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import pg from "pg";
import { test } from "vitest";
import WebSocket from "ws";
import type { Client, ClientOptions, HeraldEvent, Status } from "../src/index.js";
import { createClient } from "../src/index.js";

/** The longest that any fact is waited for: only a bug meets it. */
export const LIMIT_MS = 30_000;
const SECRET = "a secret of the tests, long enough";
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
export const PROGRAM = process.env.PGHERALD_TEST_PROGRAM ?? `${ROOT}target/debug/pgherald`;

/** Waits until `fact` is true. */
export async function until(what: string, fact: () => unknown | Promise<unknown>, limit = LIMIT_MS): Promise<void> {
  const end = Date.now() + limit;
  while (!(await fact())) {
    if (Date.now() > end) throw new Error(`waited ${limit} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const base64 = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A JWT of `subject` that is good for so long. */
export function token(subject: string, seconds = 3600, claims: object = {}): string {
  const now = Math.floor(Date.now() / 1000);
  // Two tokens of one second differ.
  const nonce = randomBytes(4).toString("hex");
  const body = `${base64({ alg: "HS256", typ: "JWT" })}.${base64({ sub: subject, exp: now + seconds, nonce, ...claims })}`;
  return `${body}.${createHmac("sha256", SECRET).update(body).digest("base64url")}`;
}

export interface Database {
  readonly url: string;
  run(sql: string): Promise<pg.QueryResult>;
}

type Cleanup = (undo: () => unknown) => void;

/** A database with the schema and the sample application, dropped at the end of the test. */
async function database(onTestFinished: Cleanup): Promise<Database> {
  const server = process.env.PGHERALD_TEST_DATABASE_URL;
  if (!server) throw new Error("there is no PostgreSQL: run `make test-client`, which starts one");
  const name = `pgherald_client_${randomBytes(8).toString("hex")}`;
  const admin = new pg.Client(server);
  await admin.connect();
  await admin.query(`create database ${name}`);
  onTestFinished(async () => {
    await admin.query(`drop database ${name} with (force)`);
    await admin.end();
  });
  const url = new URL(server);
  url.pathname = name;
  await promisify(execFile)(PROGRAM, ["migrate"], { env: { DATABASE_URL: url.href }, cwd: tmpdir() });
  const client = new pg.Client(url.href);
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end());
  await client.query(readFileSync(`${ROOT}sql/demo/sample.sql`, "utf8"));
  return { url: url.href, run: (sql) => client.query(sql) };
}

export interface Daemon {
  /** `127.0.0.1:port`. */
  readonly address: string;
  /** Sends a signal and waits for its end, where it ends. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  child: ChildProcess;
}

/** A running daemon, killed at the end of the test. `settings` are keys like `limits.sessions`. */
async function daemon(onTestFinished: Cleanup, url: string, settings: Record<string, string> = {}): Promise<Daemon> {
  const all: Record<string, string> = {
    "database.url": url,
    "http.listen": "127.0.0.1:0",
    "auth.secret": SECRET,
    "log.format": "json",
    "limits.drain_spread": "200ms",
    // A machine that stands still is no lost connection.
    "database.connect_timeout": "30s",
    "database.query_timeout": "30s",
    "database.heartbeat_timeout": "30s",
    ...settings,
  };
  const env = Object.fromEntries(
    Object.entries(all).map(([key, value]) => [`PGHERALD__${key.toUpperCase().replaceAll(".", "__")}`, value]),
  );
  const child = spawn(PROGRAM, ["serve"], { env, cwd: tmpdir(), stdio: ["ignore", "ignore", "pipe"] });
  const gone = once(child, "exit");
  const kill = async (signal: NodeJS.Signals = "SIGKILL") => {
    child.kill(signal);
    if (signal === "SIGKILL" || signal === "SIGTERM") await gone;
  };
  onTestFinished(() => kill());
  const log: string[] = [];
  let found: string | undefined;
  createInterface({ input: child.stderr }).on("line", (line) => {
    log.push(line);
    if (line.includes('"listening"')) found = JSON.parse(line).address;
  });
  await until("the daemon to listen", () => {
    if (child.exitCode !== null) throw new Error(`the daemon has ended: ${log.join("\n")}`);
    return found;
  });
  return { address: found as string, kill, child };
}

export interface Network {
  readonly address: string;
  /** Where it leads; may be changed. */
  target: string;
  /** Every connection is reset. */
  cut(): void;
  /** Nothing gets through any more, and nobody is told; until it is `healed`. */
  silence(): void;
  heal(): void;
  /** Nobody is let in. */
  closed: boolean;
  /** Answers each connection's first bytes, instead of its target, where it returns something. */
  answer: ((request: string) => string | undefined) | undefined;
  /** Connections so far. */
  readonly count: number;
}

/** A network between a client and `target`. */
async function network(onTestFinished: Cleanup, target: string): Promise<Network> {
  const pairs = new Set<[Socket, Socket]>();
  const destroy = () => {
    for (const [a, b] of pairs) {
      a.resetAndDestroy();
      b.destroy();
    }
    pairs.clear();
  };
  const server: Server = createServer((near) => {
    it.count++;
    near.on("error", () => {});
    if (it.closed) return void near.resetAndDestroy();
    near.once("data", (first) => {
      const answer = it.answer?.(first.toString("latin1"));
      if (answer !== undefined) return void near.end(answer);
      const [host, port] = it.target.split(":");
      const far = dial(Number(port), host);
      const pair: [Socket, Socket] = [near, far];
      pairs.add(pair);
      far.write(first);
      for (const [from, to] of [pair, [far, near] as const]) {
        from.on("error", () => {});
        from.on("data", (bytes) => to.write(bytes));
        from.on("close", (failed) => {
          // What was said last still gets through.
          if (failed) to.destroy();
          else to.end();
          pairs.delete(pair);
        });
        if (it.silent) from.pause();
      }
    });
  });
  const it = {
    address: "",
    target,
    closed: false,
    silent: false,
    answer: undefined as Network["answer"],
    count: 0,
    cut: destroy,
    silence() {
      it.silent = true;
      for (const [a, b] of pairs) {
        a.pause();
        b.pause();
      }
    },
    heal() {
      it.silent = false;
      for (const [a, b] of pairs) {
        a.resume();
        b.resume();
      }
    },
  };
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    destroy();
    server.close();
  });
  it.address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return it;
}

/** A client of `address`, as a page would make it, and what it has told. Closed at the end of the test. */
function client(onTestFinished: Cleanup, address: string, options: Partial<ClientOptions> = {}): Page {
  const made = createClient({
    url: `ws://${address}/ws`,
    getToken: () => token("alice"),
    WebSocket,
    ...options,
  });
  onTestFinished(() => made.close());
  const page: Page = { client: made, events: [], statuses: [made.status] };
  made.onEvent((event) => page.events.push(event));
  made.onStatus((status) => page.statuses.push(status));
  return page;
}

export interface Page {
  client: Client;
  /** Of every project. */
  events: HeraldEvent[];
  /** All that there were. */
  statuses: Status[];
}

/** Waits until the client says that it is live. */
export async function live({ client }: Page): Promise<void> {
  await until("a live client", () => client.status.state === "live");
}

/** Subscribes to project 7 and hears a first change, so that there is a cursor to come back to; forgets these events. */
export async function begin(page: Page, data: Pick<Database, "run">): Promise<void> {
  page.client.subscribe("7", () => {});
  await live(page);
  await data.run("update tasks set title = 'the first change' where id = 1");
  await until("the first change", () => told(page).length === 1);
  page.events.length = 0;
}

/** The ids of all changes of a resource that were told so far, in order. */
export function told({ events }: Page, resource = "task"): (string | null)[] {
  return events.flatMap((event) =>
    event.type === "change" && event.resource === resource ? [...(event.ids ?? [null])] : [],
  );
}

/** Why a page was told to fetch all of it. */
export function refetches({ events }: Page): string[] {
  return events.flatMap((event) => (event.type === "refetch" ? [event.reason] : []));
}

/** What a test makes here is gone when it ends, the newest first. */
export function newWorld(cleanup: Cleanup) {
  return {
    database: () => database(cleanup),
    daemon: (url: string, settings?: Record<string, string>) => daemon(cleanup, url, settings),
    network: (target: string) => network(cleanup, target),
    client: (address: string, options?: Partial<ClientOptions>) => client(cleanup, address, options),
  };
}

export type World = ReturnType<typeof newWorld>;

export const it = test.extend<{ world: World }>({
  // biome-ignore lint/correctness/noEmptyPattern: Vitest reads from it which fixtures this one needs.
  world: async ({}, use) => {
    const undo: (() => unknown)[] = [];
    await use(newWorld((step) => undo.push(step)));
    for (const step of undo.reverse()) await step();
  },
});
