/** `pgherald demo` with a PostgreSQL of its own: the board, the inspector, and the database behind them. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import pg from "pg";
import { PROGRAM, until } from "../world.js";

export interface Demo {
  readonly board: string;
  readonly inspector: string;
  /** Of the sample application's database. */
  run(sql: string): Promise<pg.QueryResult>;
  readonly child: ChildProcess;
}

/** Started as a user would, and ended as one would: with Ctrl-C. */
export async function demo(cleanup: (undo: () => unknown) => void, more: string[] = []): Promise<Demo> {
  // Servers that refuse root run as another user, who must get in.
  const folder = mkdtempSync(join(tmpdir(), "pgherald-demo-"));
  cleanup(() => rmSync(folder, { recursive: true, force: true }));
  const { PATH } = process.env;
  const child = spawn(PROGRAM, ["demo", "--listen", "127.0.0.1:0", "--board", "127.0.0.1:0", ...more], {
    env: { PATH },
    cwd: folder,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const gone = once(child, "exit");
  cleanup(async () => {
    child.kill("SIGCONT");
    child.kill("SIGINT");
    await gone;
  });
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(line.trim()));
  await until(
    "the demo to say where it is",
    () => {
      if (child.exitCode !== null) throw new Error(`the demo has ended: ${lines.join("\n")}`);
      return lines.some((line) => line.startsWith("psql "));
    },
    120_000,
  );
  const [board = "", inspector = ""] = lines.filter((line) => line.startsWith("http://"));
  const url = lines.join("\n").match(/psql '([^']+)'/)?.[1];
  let client: pg.Client | undefined;
  const connect = async () => {
    const next = new pg.Client(url);
    next.on("error", () => {
      client = undefined;
    });
    await next.connect();
    cleanup(() => next.end().catch(() => {}));
    return next;
  };
  return {
    board,
    inspector,
    child,
    async run(sql) {
      client ??= await connect();
      return client.query(sql);
    },
  };
}
