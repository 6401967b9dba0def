/**
 * A link over event streams, one a project, for networks that let no WebSocket through. `fetch` reads them, because an
 * EventSource can send no token but in its address.
 */

import { BROKEN, UNAUTHORIZED } from "./close.js";
import type { ClientFrame, ServerFrame } from "./frames.js";
import { address, type Link, type LinkOwner, UNKNOWN } from "./link.js";

/** The daemon says something every 25 s. */
const SILENCE_MS = 60_000;

type Subscribe = Extract<ClientFrame, { type: "subscribe" }>;

interface Stream {
  abort: AbortController;
  question: Subscribe;
  heardAt: number;
  /** It was acknowledged, or goes on for one that was. */
  told: boolean;
}

/** Opens nothing before the first `subscribe`; a token that is not good shows then. */
export function openStream(url: string | URL, events: string | URL | undefined, owner: LinkOwner): Link {
  const place = events ? address(events, "https:", "http:") : new URL("events", address(url, "https:", "http:"));
  const streams = new Map<string, Stream>();
  let token = "";
  let over = false;

  function close(): void {
    over = true;
    for (const { abort } of streams.values()) abort.abort();
    streams.clear();
  }

  function end(code: number, reason: string): void {
    if (over) return;
    close();
    owner.ended(code, reason);
  }

  function open(question: Subscribe, told = false): void {
    streams.get(question.project_id)?.abort.abort();
    const stream = { abort: new AbortController(), question, heardAt: Date.now(), told };
    streams.set(question.project_id, stream);
    read(stream).catch((error) => {
      // Some say of a header that is none what it is.
      if (!stream.abort.signal.aborted) end(BROKEN, `${error}`.replaceAll(token.trim(), "..."));
    });
  }

  async function read(stream: Stream): Promise<void> {
    const response = await fetch(where(place, stream.question), {
      headers: { Authorization: `Bearer ${token}`, Accept: "text/event-stream" },
      cache: "no-store",
      credentials: "omit",
      signal: stream.abort.signal,
    });
    if (!response.ok || !response.body) return refused(stream, response);
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (streams.get(stream.question.project_id) !== stream) return;
      if (done) return end(BROKEN, "");
      stream.heardAt = Date.now();
      const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        hear(stream, block);
        if (over || streams.get(stream.question.project_id) !== stream) return;
      }
    }
  }

  async function refused(stream: Stream, response: Response): Promise<void> {
    const { error, message } = await response.json().catch(() => ({ error: "", message: "" }));
    if (stream.abort.signal.aborted) return;
    if (response.status === 401) return end(UNAUTHORIZED, message);
    if ((response.status === 403 || response.status === 400) && error) {
      const { ref, project_id } = stream.question;
      streams.delete(project_id);
      // Nobody waits for an answer to a renewal.
      if (stream.told) return owner.heard({ type: "revoked", project_id, reason: error });
      return owner.heard({ type: "error", code: error, message, ...(ref && { ref }) });
    }
    end(response.status === 429 ? 4429 : response.status === 503 ? 1013 : BROKEN, message || `${response.status}`);
  }

  function hear(stream: Stream, block: string): void {
    const field = (name: string) => block.match(new RegExp(`(?:^|\n)${name}: ?([^\n]*)`))?.[1];
    const [cursor, data] = [field("id"), field("data")];
    const { project_id, ref } = stream.question;
    if (cursor) stream.question = { ...stream.question, since: cursor };
    if (!data) {
      if (cursor) owner.heard({ type: "pong", cursor, project_id });
      return;
    }
    const frame: ServerFrame = JSON.parse(data);
    if (frame.type === "close") {
      // Behind `revoked` it is only this stream that ends.
      if (streams.has(project_id)) end(frame.code, frame.reason);
      return;
    }
    if (frame.type === "revoked") streams.delete(project_id);
    if (frame.type === "subscribed") {
      stream.told = true;
      // A stream in place of this one misses nothing that comes between them, even if there is no cursor yet.
      stream.question = { ...stream.question, since: stream.question.since ?? UNKNOWN };
    }
    owner.heard(frame.type === "subscribed" && ref ? { ...frame, ref } : frame);
  }

  queueMicrotask(() => {
    if (!over) owner.opened();
  });

  return {
    close,
    send(frame) {
      if (over) return;
      if (frame.type === "auth") {
        // Another user's ends the session, as it does over a WebSocket.
        const other = token && claims(token).subject !== claims(frame.token).subject;
        if (other) return queueMicrotask(() => end(UNAUTHORIZED, ""));
        token = frame.token;
        queueMicrotask(() => {
          if (!over) owner.heard({ type: "authenticated", ...claims(token) });
        });
        // With the new token, from where they are.
        for (const { question, told } of streams.values()) open(question, told);
      } else if (frame.type === "subscribe") {
        const known = streams.get(frame.project_id)?.question.since;
        open({ ...frame, ...(!frame.since && known && { since: known }) });
      } else if (frame.type === "unsubscribe") {
        streams.get(frame.project_id)?.abort.abort();
        streams.delete(frame.project_id);
      } else if ([...streams.values()].every(({ heardAt }) => Date.now() - heardAt < SILENCE_MS)) {
        queueMicrotask(() => {
          if (!over) owner.heard({ type: "pong" });
        });
      }
    },
  };
}

function where(place: URL, { project_id, topics, filter, since }: Subscribe): URL {
  const url = new URL(place);
  url.searchParams.set("project_id", project_id);
  // Commas separate them here: who wants a row whose key has one hears of all.
  if (topics?.every((topic) => !topic.includes(","))) url.searchParams.set("topics", topics.join());
  if (filter) url.searchParams.set("filter", JSON.stringify(filter));
  if (since) url.searchParams.set("since", since);
  url.searchParams.set("batch", "true");
  return url;
}

/** What the daemon would say of a token; it judges, not we. */
function claims(token: string): { subject: string; expires_at: number } {
  try {
    const base64 = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const { sub, exp } = JSON.parse(new TextDecoder().decode(bytes));
    return { subject: `${sub}`, expires_at: exp };
  } catch {
    return { subject: "", expires_at: Number.MAX_SAFE_INTEGER };
  }
}
