/** How it stands between the client and the daemon. */

/** `websocket`, or `event-stream` where the network lets no WebSocket through. */
export type Transport = "websocket" | "event-stream";

/**
 * - `connecting`: for the first time, or nothing is subscribed to yet.
 * - `live`: caches are kept up to date. A project that was just added may still be `pending`.
 * - `stale`: it was live and is coming back by itself; what is cached may be out of date until then.
 * - `closed`: it does not come back by itself: `close()`, nobody is logged in, or the daemon said so. `reconnect()`
 *   tries again.
 */
export type Status =
  | {
      readonly state: "connecting" | "stale";
      readonly reason: string;
      /** When it tries again, in milliseconds since 1970; absent while it is trying. */
      readonly retryAt?: number;
    }
  | { readonly state: "live"; readonly reason: string; readonly transport: Transport; readonly subject: string }
  | {
      readonly state: "closed";
      readonly reason: string;
      /** The close code of the daemon, where that was the reason. */
      readonly code?: number;
    };

/**
 * One project: `pending` until it is acknowledged for the first time, `live`, `stale` until it is acknowledged again,
 * `revoked` and `refused` where the daemon does not tell of it, `none` where nobody has subscribed to it.
 */
export type ProjectState = "none" | "pending" | "live" | "stale" | "revoked" | "refused";
