/** One connection to the daemon, whatever it travels over. It speaks the frames of docs/protocol.md. */

import type { ClientFrame, ServerFrame } from "./frames.js";

/** No daemon knows it: as `since` it is answered by a `reconnect`, which has a spread. */
export const UNKNOWN = "0.0";

export interface Link {
  /** Does nothing once it has ended. */
  send(frame: ClientFrame): void;
  /** Ends it without a word to its owner. */
  close(): void;
}

/** What a link tells its owner. Nothing follows `ended`. */
export interface LinkOwner {
  /** It is open: say who you are. */
  opened(): void;
  heard(frame: ServerFrame): void;
  /** `code` is a close code; 1006 = it broke, or never came to be. */
  ended(code: number, reason: string): void;
}

/** The address with these schemes instead of its own; relative ones stand beside the page. */
export function address(url: string | URL, secure: string, plain: string): URL {
  const parsed = new URL(url, globalThis.location?.href);
  parsed.protocol = /^(https|wss):$/.test(parsed.protocol) ? secure : plain;
  return parsed;
}
