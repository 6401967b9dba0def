/** What a subscription is told. */

/** A value of an included column. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/** The columns that a table is watched to `include`, by name. */
export type Row = { readonly [column: string]: Json };

export type Action = "INSERT" | "UPDATE" | "DELETE";

/** Rows of a resource have changed: what is cached of them is stale. */
export interface ChangeEvent {
  readonly type: "change";
  readonly projectId: string;
  /** The name of the table as the daemon tells it: `tasks` is `task`. */
  readonly resource: string;
  readonly action: Action;
  /** Primary keys as text; `null` = any row of the resource may have changed. */
  readonly ids: readonly string[] | null;
  /** Included columns, one for each of `ids`; `null` for a row whose columns did not travel. Absent where none did. */
  readonly rows?: readonly (Row | null)[];
  /** What the writing transaction called itself; compare with {@link Client.origin}. */
  readonly origin?: string;
  /** RFC 3339, with microseconds: when the daemon heard of it; of a hand-written payload what that says. */
  readonly timestamp?: string;
  /** Where the client has got to with this event. Absent while a refetch waits for its moment. */
  readonly cursor?: string;
}

/**
 * Why all of a project may be stale. `subscribed`: it is heard from now on, and what was fetched before may have missed
 * a change; `user_changed`: somebody else has logged in. The others come from the daemon, which may send more of them
 * one day: treat them alike.
 */
export type RefetchReason =
  | "subscribed"
  | "user_changed"
  | "database_reconnected"
  | "slow_consumer"
  | "history_gap"
  | "notification_dropped"
  | "access_checked"
  | (string & {});

/** Anything cached of the project may be stale. */
export interface RefetchEvent {
  readonly type: "refetch";
  readonly projectId: string;
  readonly reason: RefetchReason;
}

/** The user may see this project no more. Nothing follows, until it is asked for again. */
export interface RevokedEvent {
  readonly type: "revoked";
  readonly projectId: string;
  readonly reason: string;
}

/** The daemon refused the subscription. `code` is one of docs/protocol.md: `forbidden`, `bad_topic`, ... */
export interface RefusedEvent {
  readonly type: "refused";
  readonly projectId: string;
  readonly code: string;
  /** For a developer to read. */
  readonly message: string;
}

export type HeraldEvent = ChangeEvent | RefetchEvent | RevokedEvent | RefusedEvent;

export type Listener = (event: HeraldEvent) => void;

/** Stops what it was returned for. Calling it twice does no harm. */
export type Unsubscribe = () => void;
