/** pgherald: which of your cached data is stale. */

export { createClient } from "./client.js";
export type {
  Action,
  ChangeEvent,
  HeraldEvent,
  Json,
  Listener,
  RefetchEvent,
  RefetchReason,
  RefusedEvent,
  RevokedEvent,
  Row,
  Unsubscribe,
} from "./events.js";
export type { CacheInvalidate, ChangedResource, ClientFrame, ResourceChange, ServerFrame } from "./frames.js";
export type { ProjectState, Status, Transport } from "./status.js";
export type { Client, ClientOptions, SubscribeOptions, TokenRequest, WebSocketLike } from "./types.js";
