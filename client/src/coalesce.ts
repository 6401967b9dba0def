/** Bursts of events become few rounds: the first at once, then one in each span of time while there are any. */

import type { Action, ChangeEvent, RefetchEvent, Row } from "./events.js";

/** At most so many rows wait; beyond that a resource is "any row". */
const MAX_ROWS = 500;
/** More resources and actions than this are "the whole project". */
const MAX_CHANGES = 30;

/** Events of one project, merged. */
export interface Round {
  /** Anything of the project may be stale. */
  readonly whole: boolean;
  readonly changes: readonly ChangeEvent[];
}

interface Merged {
  readonly projectId: string;
  readonly resource: string;
  readonly action: Action;
  /** By id and row: a row that was changed twice may have been told with two values. `null` = any row. */
  rows: Map<string, { readonly id: string; readonly row: Row | null }> | null;
}

/** Events of one project that wait for the next round. */
export class Pending {
  #whole = false;
  #rows = 0;
  readonly #changes = new Map<string, Merged>();

  /** Takes one more event in. */
  add(event: ChangeEvent | RefetchEvent): void {
    if (event.type === "refetch") {
      this.#whole = true;
      return;
    }
    const name = `${event.action} ${event.resource}`;
    let merged = this.#changes.get(name);
    if (!merged) {
      if (this.#changes.size >= MAX_CHANGES) {
        this.#whole = true;
        return;
      }
      const { projectId, resource, action } = event;
      merged = { projectId, resource, action, rows: new Map() };
      this.#changes.set(name, merged);
    }
    this.#merge(merged, event);
  }

  /** What has been taken in; nothing is left. `undefined` = nothing was. */
  take(): Round | undefined {
    if (!this.#whole && this.#changes.size === 0) return undefined;
    const round = { whole: this.#whole, changes: [...this.#changes.values()].map(toEvent) };
    this.#whole = false;
    this.#rows = 0;
    this.#changes.clear();
    return round;
  }

  #merge(merged: Merged, { ids, rows }: ChangeEvent): void {
    const known = merged.rows;
    if (known === null) return;
    this.#rows -= known.size;
    for (const [place, id] of ids?.entries() ?? []) {
      const row = rows?.[place] ?? null;
      known.set(`${id} ${JSON.stringify(row)}`, { id, row });
      if (this.#rows + known.size > MAX_ROWS) break;
    }
    if (ids === null || this.#rows + known.size > MAX_ROWS) merged.rows = null;
    else this.#rows += known.size;
  }
}

function toEvent({ projectId, resource, action, rows }: Merged): ChangeEvent {
  if (rows === null) return { type: "change", projectId, resource, action, ids: null };
  const all = [...rows.values()];
  const ids = all.map(({ id }) => id);
  if (all.every(({ row }) => row === null)) return { type: "change", projectId, resource, action, ids };
  return { type: "change", projectId, resource, action, ids, rows: all.map(({ row }) => row) };
}

/** Calls `run` with the events of each project, at most once in `spanMs` and first at once. */
export class Coalescer {
  readonly #spanMs: number;
  readonly #run: (projectId: string, round: Round) => void;
  readonly #spans = new Map<string, { readonly pending: Pending; timer: ReturnType<typeof setTimeout> }>();

  constructor(spanMs: number, run: (projectId: string, round: Round) => void) {
    this.#spanMs = spanMs;
    this.#run = run;
  }

  /** Takes an event in: now where the project was quiet, else with the next round. */
  add(event: ChangeEvent | RefetchEvent): void {
    const { projectId } = event;
    const span = this.#spans.get(projectId);
    if (span) {
      span.pending.add(event);
      return;
    }
    this.#spans.set(projectId, { pending: new Pending(), timer: this.#later(projectId) });
    const first = event.type === "refetch" ? { whole: true, changes: [] } : { whole: false, changes: [event] };
    this.#run(projectId, first);
  }

  /** Runs what waits and leaves no timer. */
  stop(): void {
    const spans = [...this.#spans];
    this.#spans.clear();
    for (const [projectId, { pending, timer }] of spans) {
      clearTimeout(timer);
      const round = pending.take();
      if (round) this.#run(projectId, round);
    }
  }

  #later(projectId: string): ReturnType<typeof setTimeout> {
    return setTimeout(() => this.#end(projectId), this.#spanMs);
  }

  #end(projectId: string): void {
    const span = this.#spans.get(projectId);
    const round = span?.pending.take();
    if (!span || !round) {
      this.#spans.delete(projectId);
      return;
    }
    span.timer = this.#later(projectId);
    this.#run(projectId, round);
  }
}
