/** Keeps the cache of a TanStack `QueryClient` (React, Vue, Svelte, Solid, Angular) up to date. */

import { Coalescer, type Round } from "./coalesce.js";
import type { ChangeEvent, HeraldEvent, RefusedEvent, RevokedEvent, Unsubscribe } from "./events.js";
import {
  beginsWith,
  idText,
  loneId,
  type Names,
  namesOf,
  namesOtherRow,
  namesResource,
  projectIds,
} from "./query-keys.js";
import { type RefetchType, Refresher, wider } from "./query-refresher.js";
import type { QueryClientLike, QueryFiltersLike, QueryKeyLike, QueryLike } from "./query-types.js";
import type { Client } from "./types.js";

export type { RefetchType } from "./query-refresher.js";
export type {
  QueryCacheEventLike,
  QueryCacheLike,
  QueryClientLike,
  QueryFiltersLike,
  QueryKeyLike,
  QueryLike,
} from "./query-types.js";

/** Beginnings of query keys, or filters, of what is stale. An empty list = nothing is. */
export type StaleQueries = readonly (QueryKeyLike | QueryFiltersLike)[];

/** Which queries a change makes stale. `undefined` = those that the keys themselves name. */
export type KeysOf = (event: ChangeEvent) => StaleQueries | undefined;

/** How {@link syncQueryClient} does it. */
export interface SyncQueryClientOptions {
  /** Where the events come from. */
  readonly client: Client;
  /** The cache. */
  readonly queryClient: QueryClientLike;
  /**
   * Projects to subscribe to. Without it nothing is subscribed to, and the cache follows all that others (`useProject`,
   * `client.subscribe`) have subscribed to.
   */
  readonly projects?: readonly string[];
  /**
   * Which queries a change makes stale, where their keys do not name the resource: by resource, or one function for all.
   * What it is given may be several changes of one resource and action in one.
   */
  readonly keys?: KeysOf | { readonly [resource: string]: StaleQueries | KeysOf };
  /** Other names of resources in keys than English makes: `{ person: "folks" }`. */
  readonly names?: { readonly [resource: string]: string | readonly string[] };
  /**
   * Which stale queries are fetched at once, the rest being marked: default `active`, those that are mounted. For all,
   * or by resource, where `*` stands for the others and for the project as a whole.
   */
  readonly refetchType?: RefetchType | { readonly [resource: string]: RefetchType };
  /** Whether a query is of a project. `undefined` = see what its key names. */
  readonly belongs?: (queryKey: QueryKeyLike, projectId: string) => boolean | undefined;
  /**
   * What happens to the data of a project that the user may see no more. `reset` (default): queries whose keys surely
   * name it lose their data, and the mounted ones ask again; all others of the project are refetched. `refetch`: all are
   * only refetched. Or do it yourself.
   */
  readonly onRevoked?: "reset" | "refetch" | ((event: RevokedEvent | RefusedEvent) => void);
  /**
   * Whether a change that carries `client.origin` is skipped (default): the page then brings its own cache up to date
   * after its own writes.
   */
  readonly skipOwn?: boolean;
  /** At most two rounds for a burst of this many milliseconds: one at once, one at its end. Default 100. */
  readonly coalesceMs?: number;
  /** Told of what `keys`, `belongs` and `onRevoked` throw, and of refused subscriptions. Default `console.error`. */
  readonly onError?: (error: unknown) => void;
}

/**
 * Makes the queries ask again that a change has made stale. Call it once, where the `QueryClient` is made.
 *
 * @returns Stops it: what was heard by then is done, and nothing is left.
 * @example
 * ```ts
 * const stop = syncQueryClient({ client, queryClient, projects: ["7"] });
 * ```
 */
export function syncQueryClient(options: SyncQueryClientOptions): Unsubscribe {
  const sync = new Sync(options);
  return () => sync.stop();
}

class Sync {
  readonly #options: SyncQueryClientOptions;
  readonly #refresher: Refresher;
  readonly #coalescer: Coalescer;
  readonly #unsubscribe: readonly Unsubscribe[];
  #stopped = false;

  constructor(options: SyncQueryClientOptions) {
    this.#options = options;
    this.#refresher = new Refresher(options.queryClient.getQueryCache());
    this.#coalescer = new Coalescer(options.coalesceMs ?? 100, (projectId, round) => this.#run(projectId, round));
    const listener = (event: HeraldEvent) => this.#hear(event);
    const { client, projects } = options;
    this.#unsubscribe = projects
      ? [...new Set(projects)].map((projectId) => client.subscribe(projectId, listener))
      : [client.onEvent(listener)];
  }

  stop(): void {
    this.#stopped = true;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#coalescer.stop();
    this.#refresher.stop();
  }

  #hear(event: HeraldEvent): void {
    if (this.#stopped) return;
    switch (event.type) {
      case "change":
        if (!this.#isOwn(event)) this.#coalescer.add(event);
        break;
      case "refetch":
        this.#coalescer.add(event);
        break;
      case "revoked":
        this.#revoke(event);
        break;
      case "refused":
        if (event.code === "forbidden") this.#revoke(event);
        else this.#report(new Error(`pgherald does not tell of project ${event.projectId}: ${event.message}`));
        break;
    }
  }

  #isOwn({ origin }: ChangeEvent): boolean {
    const { client, skipOwn = true } = this.#options;
    return skipOwn && origin !== undefined && origin === client.origin;
  }

  /** Each query once, however many of the changes concern it. */
  #run(projectId: string, round: Round): void {
    const stale = new Map<QueryLike, RefetchType>();
    const add = (queries: readonly QueryLike[], type: RefetchType) => {
      for (const query of queries) stale.set(query, wider(type, stale.get(query)));
    };
    if (round.whole) add(this.#ofProject(projectId), this.#refetchType("*"));
    for (const change of round.changes) add(this.#staleAfter(change), this.#refetchType(change.resource));
    for (const [query, type] of stale) this.#guard(() => this.#refresher.refresh(query, type));
  }

  #staleAfter(event: ChangeEvent): readonly QueryLike[] {
    try {
      const { keys } = this.#options;
      const given = typeof keys === "function" ? keys : own(keys, event.resource);
      const named = typeof given === "function" ? given(event) : given;
      if (named !== undefined) return named.flatMap((one) => this.#find(one));
    } catch (error) {
      this.#report(error);
      return this.#ofProject(event.projectId);
    }
    return this.#named(event);
  }

  #find(one: QueryKeyLike | QueryFiltersLike): QueryLike[] {
    if (isKey(one)) return this.#all().filter((query) => beginsWith(query.queryKey, one));
    const { queryKey, exact, ...filters } = one;
    return this.#options.queryClient
      .getQueryCache()
      .findAll(filters)
      .filter((query) => queryKey === undefined || beginsWith(query.queryKey, queryKey))
      .filter((query) => exact !== true || beginsWith(queryKey, query.queryKey));
  }

  /** The queries whose keys name the resource, but for those that are surely of another row or project. */
  #named(event: ChangeEvent): readonly QueryLike[] {
    const { resource, projectId, ids } = event;
    const names = namesOf(resource, own(this.#options.names, resource));
    return this.#all().filter(({ queryKey }) => {
      if (!namesResource(queryKey, names) || this.#isOther(queryKey, projectId)) return false;
      if (ids !== null && namesOtherRow(queryKey, names, ids, projectId)) return false;
      return !this.#isListOfOther(queryKey, names, event);
    });
  }

  /** `["tasks", "8"]`: of task 8 or project 8, neither of which is concerned. */
  #isListOfOther(queryKey: QueryKeyLike, names: Names, { ids, projectId }: ChangeEvent): boolean {
    const id = loneId(queryKey, names, ids);
    return id !== undefined && id !== idText(projectId) && this.#isKnown(id);
  }

  #ofProject(projectId: string): readonly QueryLike[] {
    return this.#all().filter(({ queryKey }) => !this.#isOther(queryKey, projectId));
  }

  #all(): QueryLike[] {
    return this.#options.queryClient.getQueryCache().getAll();
  }

  /** Whether the query is surely of another project. */
  #isOther(queryKey: QueryKeyLike, projectId: string): boolean {
    const belongs = this.#belongs(queryKey, projectId);
    if (belongs !== undefined) return !belongs;
    const ids = projectIds(queryKey);
    return !ids.has(idText(projectId)) && [...ids].some((id) => this.#isKnown(id));
  }

  /** Whether the query is surely of this project. */
  #isOf(queryKey: QueryKeyLike, projectId: string): boolean {
    return this.#belongs(queryKey, projectId) ?? projectIds(queryKey).has(idText(projectId));
  }

  #belongs(queryKey: QueryKeyLike, projectId: string): boolean | undefined {
    return this.#guard(() => this.#options.belongs?.(queryKey, projectId));
  }

  #isKnown(projectId: string): boolean {
    return this.#options.client.project(projectId) !== "none";
  }

  #revoke(event: RevokedEvent | RefusedEvent): void {
    const { onRevoked = "reset" } = this.#options;
    let mode = onRevoked;
    if (typeof mode === "function") {
      try {
        mode(event);
        return;
      } catch (error) {
        this.#report(error);
        mode = "reset";
      }
    }
    for (const query of this.#ofProject(event.projectId)) {
      const forget = mode === "reset" && this.#isOf(query.queryKey, event.projectId);
      this.#guard(() => (forget ? this.#refresher.forget(query) : this.#refresher.refresh(query, "active")));
    }
  }

  #refetchType(resource: string): RefetchType {
    const { refetchType = "active" } = this.#options;
    if (typeof refetchType === "string") return refetchType;
    return own(refetchType, resource) ?? refetchType["*"] ?? "active";
  }

  /** What one query or function throws is no matter of the others. */
  #guard<T>(run: () => T): T | undefined {
    try {
      return run();
    } catch (error) {
      this.#report(error);
      return undefined;
    }
  }

  #report(error: unknown): void {
    try {
      (this.#options.onError ?? console.error)(error);
    } catch (another) {
      console.error(error, another);
    }
  }
}

function isKey(one: QueryKeyLike | QueryFiltersLike): one is QueryKeyLike {
  return Array.isArray(one);
}

/** A resource may be called `constructor`. */
function own<T>(map: { readonly [resource: string]: T } | undefined, resource: string): T | undefined {
  return map !== undefined && Object.hasOwn(map, resource) ? map[resource] : undefined;
}
