/** The frames of the wire, as docs/protocol.md describes them. Unknown fields are ignored, and unknown types too. */

import type { Action, Json, Row } from "./events.js";

export type ClientFrame =
  | { type: "auth"; token: string }
  | {
      type: "subscribe";
      ref?: string;
      project_id: string;
      topics?: readonly string[];
      filter?: { readonly [column: string]: Json };
      since?: string;
      format?: "cache_invalidate" | "resource_change";
      batch?: boolean;
    }
  | { type: "unsubscribe"; ref?: string; project_id: string }
  | { type: "ping"; ref?: string };

export interface CacheInvalidate {
  type: "cache_invalidate";
  resource: string;
  action: Action;
  project_id: string;
  /** Absent where rows were coarsened, and where the database's own triggers give none. */
  cursor?: string | undefined;
  origin?: string;
  data: {
    resource: string;
    action: Action;
    project_id: string;
    timestamp: string;
    /** Neither = the whole resource. */
    id?: string;
    /** With `batch`. */
    ids?: string[];
    row?: Row;
    rows?: (Row | null)[];
  };
}

/** A row in the format `resource_change`: its included columns stand beside the id. `null` = any row. */
export type ChangedResource = { id: string | null; [column: string]: Json };

export interface ResourceChange {
  type: "resource_change";
  event: "created" | "updated" | "deleted";
  resource_type: string;
  resource?: ChangedResource;
  /** With `batch`. */
  resources?: ChangedResource[];
  project_id: string;
  cursor?: string;
  origin?: string;
  timestamp: string;
}

export type ServerFrame =
  | CacheInvalidate
  | ResourceChange
  | { type: "reconnect"; project_id?: string; data: { reason: string; spread_ms: number } }
  | { type: "authenticated"; subject: string; expires_at: number }
  | { type: "subscribed"; ref?: string; project_id: string; cursor?: string }
  | { type: "unsubscribed"; ref?: string; project_id: string }
  | { type: "revoked"; project_id: string; reason: string }
  | { type: "close"; code: number; reason: string }
  /** In event streams a heartbeat stands for it, of one project. */
  | { type: "pong"; ref?: string; cursor?: string; project_id?: string }
  | { type: "error"; ref?: string; code: string; message: string };
