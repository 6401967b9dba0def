/**
 * What is needed of TanStack Query, by its shape. The packages for React, Vue, Svelte and so on may each bring a copy of
 * query-core, and the classes of two copies are different types; nothing is imported from any of them.
 */

/** A query key: `["tasks", "list", { projectId: "7" }]`. */
export type QueryKeyLike = readonly unknown[];

/** One query of the cache. */
export interface QueryLike {
  readonly queryKey: QueryKeyLike;
  readonly state: {
    readonly data: unknown;
    readonly fetchStatus: string;
    readonly isInvalidated: boolean;
    readonly fetchMeta: unknown;
  };
  readonly options: { readonly queryFn?: unknown };
  getObserversCount(): number;
  isActive(): boolean;
  isDisabled(): boolean;
  /** Absent in older versions. */
  isStatic?(): boolean;
  invalidate(): void;
  reset(): void;
  cancel(options?: { silent?: boolean }): Promise<unknown>;
  setState(state: { fetchStatus: "idle" }): void;
  fetch(): Promise<unknown>;
}

/** What the cache tells its listeners. */
export interface QueryCacheEventLike {
  readonly type: string;
  readonly query: QueryLike;
  readonly action?: { readonly type: string; readonly manual?: boolean };
}

/** Filters of queries, as `queryClient.invalidateQueries` takes them. */
export interface QueryFiltersLike {
  readonly queryKey?: QueryKeyLike;
  readonly exact?: boolean;
  readonly type?: "all" | "active" | "inactive";
  readonly stale?: boolean;
  readonly fetchStatus?: "fetching" | "paused" | "idle";
  readonly predicate?: (query: QueryLike) => boolean;
}

/** The cache of a {@link QueryClientLike}. */
export interface QueryCacheLike {
  getAll(): QueryLike[];
  // biome-ignore lint/suspicious/noExplicitAny: each copy of query-core has its own type of filters
  findAll(filters?: any): QueryLike[];
  // biome-ignore lint/suspicious/noExplicitAny: `remove` takes the queries of its own copy of query-core
  remove(query: any): void;
  // biome-ignore lint/suspicious/noExplicitAny: a listener is told events of its own copy of query-core
  subscribe(listener: (event: any) => void): () => void;
}

/** A `QueryClient` of `@tanstack/react-query`, `vue-query`, `query-core`, ... of any copy and any 5.x. */
export interface QueryClientLike {
  getQueryCache(): QueryCacheLike;
}
