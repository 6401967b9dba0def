/** What the client offers and what it wants to know. */

import type { Json, Listener, Unsubscribe } from "./events.js";
import type { ProjectState, Status } from "./status.js";

/** What {@link ClientOptions.getToken} is asked for. */
export interface TokenRequest {
  /** `connect`: for a new connection; `renew`: the one in use expires soon; `refused`: the last one was not accepted. */
  readonly reason: "connect" | "renew" | "refused";
}

/** What is needed of a WebSocket: that of a browser, of Node 22, and of the package `ws`, whose events have other types. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  send(text: string): void;
  close(): void;
}

export interface ClientOptions {
  /** Where the daemon's WebSockets are: `wss://herald.example.com/ws`. Relative to the page in a browser. */
  readonly url: string | URL;
  /**
   * The JWT of whoever is logged in; `null` = nobody is. Asked before every connection and before the token expires, so
   * it should answer with one that is good for a while. What it throws is taken for a passing failure, and it is asked
   * again later.
   */
  readonly getToken: (request: TokenRequest) => string | null | undefined | Promise<string | null | undefined>;
  /**
   * Where the daemon's event streams are, for networks that let no WebSocket through. Default: `/events` beside `url`.
   * `false` = no fallback.
   */
  readonly eventsUrl?: string | URL | false;
  /** A class like the browser's, where there is none: Node 20 with the package `ws`. Without any, event streams are used. */
  readonly WebSocket?: new (
    url: URL,
  ) => WebSocketLike;
  /** What the writes of this page are called; see {@link Client.origin}. Default: random. */
  readonly origin?: string;
}

export interface SubscribeOptions {
  /** `*`, a resource (`task:*`) or one row (`task:42`); none = all of the project. */
  readonly topics?: readonly string[];
  /** Included columns and the values wanted. A row is left out only where it surely differs. */
  readonly filter?: { readonly [column: string]: Exclude<Json, object> | null };
  /** A cursor that this listener has heard everything up to. Without one it is told to refetch once it is heard. */
  readonly since?: string | undefined;
}

export interface Client {
  /**
   * Sent with a write (say as a header `X-Herald-Origin`, for the API to `set local pgherald.origin`), it comes back in
   * {@link ChangeEvent.origin}, so that a page can skip the echo of its own writes.
   */
  readonly origin: string;
  /** How it stands now. The same object until it changes. */
  readonly status: Status;
  /** Tells `listener` of a project. The first subscription connects. All of them share one connection. */
  subscribe(projectId: string, options: SubscribeOptions, listener: Listener): Unsubscribe;
  subscribe(projectId: string, listener: Listener): Unsubscribe;
  /** Tells `listener` of every project that somebody has subscribed to. */
  onEvent(listener: Listener): Unsubscribe;
  /** Calls `listener` after each change of `status` and of any `project()`. */
  onStatus(listener: (status: Status) => void): Unsubscribe;
  /** How it stands with one project. */
  project(projectId: string): ProjectState;
  /** Where it has got to with a project: another client may go on from there; see {@link SubscribeOptions.since}. */
  cursor(projectId: string): string | undefined;
  /** Connects again at once with a fresh token: after logging in, out or as somebody else. */
  reconnect(): void;
  /** Ends the connection. `reconnect()` and new subscriptions open it again; nothing else does. */
  close(): void;
}
