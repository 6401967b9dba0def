/** The tab that is connected: it subscribes for all tabs. */

import { createClient } from "./client.js";
import type { HeraldEvent } from "./events.js";
import type { ProjectState, Status } from "./status.js";
import type { Client, ClientOptions, SubscribeOptions } from "./types.js";

/** What one listener of a tab wants. */
export interface Wish {
  readonly id: number;
  readonly projectId: string;
  readonly options: SubscribeOptions;
}

/** What it tells the tabs. */
export type Report =
  | {
      readonly type: "told";
      readonly tab: string;
      readonly id: number;
      readonly event: HeraldEvent;
      /** The same for all listeners that are told of one event. */
      readonly number: number;
    }
  | {
      readonly type: "state";
      readonly status: Status;
      /** Each with its state and its cursor. */
      readonly projects: readonly [string, ProjectState, string | undefined][];
    };

export interface Leader {
  readonly client: Client;
  /** All that a tab wants; the rest that it wanted is over. */
  wants(tab: string, wishes: readonly Wish[]): void;
  knows(tab: string): boolean;
  /** The tab has gone. */
  forget(tab: string): void;
  close(): void;
}

/** Cursors of quiet projects move with the pings. */
const REPORT_MS = 25_000;

export function newLeader(options: ClientOptions, report: (report: Report) => void): Leader {
  const client = createClient(options);
  const tabs = new Map<string, Map<number, { projectId: string; stop: () => void }>>();

  function state(): void {
    const wanted = [...tabs.values()].flatMap((wishes) => [...wishes.values()]);
    const names = [...new Set(wanted.map(({ projectId }) => projectId))];
    const projects = names.map((name) => [name, client.project(name), client.cursor(name)] as const);
    report({ type: "state", status: client.status, projects: projects.map((project) => [...project]) });
  }

  // Another leader begins elsewhere.
  let number = Date.now() * 1000;
  let last: HeraldEvent | undefined;

  function tell(tab: string, id: number, event: HeraldEvent): void {
    if (event !== last) number++;
    last = event;
    report({ type: "told", tab, id, event, number });
  }

  const stop = client.onStatus(state);
  const timer = setInterval(state, REPORT_MS);

  function wants(tab: string, wishes: readonly Wish[]): void {
    const known = tabs.get(tab) ?? new Map<number, { projectId: string; stop: () => void }>();
    tabs.set(tab, known);
    const ids = new Set(wishes.map(({ id }) => id));
    for (const [id, { stop }] of known) {
      if (!ids.has(id)) {
        stop();
        known.delete(id);
      }
    }
    for (const { id, projectId, options } of wishes) {
      if (known.has(id)) continue;
      const stop = client.subscribe(projectId, options, (event) => tell(tab, id, event));
      known.set(id, { projectId, stop });
    }
    state();
  }

  return {
    client,
    wants,
    knows: (tab) => tabs.has(tab),
    forget(tab) {
      wants(tab, []);
      tabs.delete(tab);
    },
    close() {
      stop();
      clearInterval(timer);
      client.close();
    },
  };
}
