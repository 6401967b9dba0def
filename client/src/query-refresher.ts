/** Makes queries ask again, such that no fetch that began before the change has the last word. */

import type { QueryCacheEventLike, QueryCacheLike, QueryLike } from "./query-types.js";

/**
 * Which of the stale queries are fetched at once: those that are mounted (`active`), all, or none. What is not fetched
 * is marked, and asks again when it is next used.
 */
export type RefetchType = "active" | "all" | "none";

/** How often one fetch is started again, before it may first come to its end: else it never would under many changes. */
const MAX_RESTARTS = 3;

/** The queries of one cache. */
export class Refresher {
  readonly #cache: QueryCacheLike;
  /** How often the fetch in flight was started again. */
  readonly #restarts = new WeakMap<QueryLike, number>();
  /** Fetches in flight that may come to their end and are then not enough. */
  readonly #again = new Map<QueryLike, RefetchType>();
  /** Marked, and not fetched since. */
  readonly #marked = new WeakSet<QueryLike>();
  readonly #unsubscribe: () => void;

  constructor(cache: QueryCacheLike) {
    this.#cache = cache;
    this.#unsubscribe = cache.subscribe((event: QueryCacheEventLike) => this.#onCache(event));
  }

  /** What the query holds, or is fetching, is stale. */
  refresh(query: QueryLike, type: RefetchType): void {
    if (query.state.fetchStatus === "idle") {
      this.#mark(query);
      if (wanted(query, type)) ask(query);
      return;
    }
    const restarts = this.#restarts.get(query) ?? 0;
    if (restarts < MAX_RESTARTS && canAsk(query) && !fetchesMore(query)) {
      this.#restarts.set(query, restarts + 1);
      this.#restart(query);
    } else {
      this.#mark(query);
      this.#again.set(query, wider(type, this.#again.get(query)));
    }
  }

  /** What the query holds must not be seen any more. */
  forget(query: QueryLike): void {
    const fetching = query.state.fetchStatus !== "idle";
    if (!fetching && query.getObserversCount() === 0) {
      this.#cache.remove(query);
      return;
    }
    query.reset();
    if (canAsk(query) && (fetching || wanted(query, "active"))) ask(query);
  }

  /** Leaves nothing behind, and nothing undone. */
  stop(): void {
    this.#unsubscribe();
    for (const query of this.#again.keys()) if (canAsk(query)) this.#restart(query);
    this.#again.clear();
  }

  /**
   * Those who await the fetch get the result of the new one: a silent cancel leaves them waiting. The mark comes before
   * the new fetch: one that is cancelled goes back to the state from before it.
   */
  #restart(query: QueryLike): void {
    this.#again.delete(query);
    void query.cancel({ silent: true });
    query.setState({ fetchStatus: "idle" });
    this.#mark(query);
    ask(query);
  }

  #mark(query: QueryLike): void {
    this.#marked.add(query);
    query.invalidate();
  }

  #onCache({ type, query, action }: QueryCacheEventLike): void {
    if (type === "removed") this.#again.delete(query);
    if (type !== "updated") return;
    const fetched = action?.type === "success" && action.manual !== true;
    if (fetched) this.#marked.delete(query);
    if (fetched || action?.type === "error") this.#restarts.delete(query);
    const again = this.#again.get(query);
    if (again !== undefined && query.state.fetchStatus === "idle") {
      this.#again.delete(query);
      this.refresh(query, again);
    } else if (this.#marked.has(query)) {
      // `setQueryData` and the like take the mark away; what they set may well be made of what was stale.
      query.invalidate();
    }
  }
}

function ask(query: QueryLike): void {
  query.fetch().catch(() => {}); // The query's own state tells of it.
}

/** Without a function there is nothing to fetch with: `skipToken`, or data that was only ever set. */
function canAsk(query: QueryLike): boolean {
  const { queryFn } = query.options;
  return typeof queryFn === "function" || (queryFn === undefined && query.isActive());
}

function wanted(query: QueryLike, type: RefetchType): boolean {
  if (type === "none" || (type === "active" && !query.isActive())) return false;
  return canAsk(query) && !query.isDisabled() && query.isStatic?.() !== true;
}

/** An infinite query that loads its next page: started again it would load those that it has. */
function fetchesMore({ state }: QueryLike): boolean {
  return typeof state.fetchMeta === "object" && state.fetchMeta !== null && "fetchMore" in state.fetchMeta;
}

/** The one that fetches more. */
export function wider(one: RefetchType, other: RefetchType | undefined): RefetchType {
  if (one === "all" || other === "all") return "all";
  return one === "active" || other === "active" ? "active" : "none";
}
