/** Keeps a session with the daemon: asks for tokens, connects, renews, notices a dead network, and comes back. */

import { BROKEN, delayOf, mayReturn, UNAUTHORIZED, wordsOf } from "./close.js";
import type { ClientFrame, ServerFrame } from "./frames.js";
import type { Link, LinkOwner } from "./link.js";
import { openSocket } from "./socket.js";
import type { Transport } from "./status.js";
import type { ClientOptions, TokenRequest } from "./types.js";
import { onWakeUp } from "./wakeups.js";

/** From the first byte to the answer to the token. */
const CONNECT_MS = 15_000;
/** A ping also brings a newer cursor, so that a quiet project can be resumed. */
const PING_MS = 25_000;
const PONG_MS = 10_000;
/** A token is renewed that long before it expires, but not before four fifths of its time are over. */
const RENEW_MS = 60_000;
/** Browsers take no longer timers. */
const TIMER_MAX_MS = 2 ** 31 - 1;
/** A session that lived so long was none that fails: the next one may come soon. */
const STABLE_MS = 10_000;
/** Attempts over a WebSocket that end without a word, before an event stream is tried. */
const SILENCES_MAX = 2;

export interface ConnectionOwner {
  /** There is a session of `subject`, to which nothing has been said yet. */
  began(subject: string, transport: Transport): void;
  heard(frame: ServerFrame): void;
  /** There is none, and another attempt is under way, or comes at `retryAt` (milliseconds since 1970). */
  lost(reason: string, retryAt?: number): void;
  /** There is none, and there will be none before `connect`. */
  ended(reason: string, code?: number): void;
}

export interface Connection {
  send(frame: ClientFrame): void;
  /** Connects now with a fresh token, whatever is there. */
  connect(): void;
  /** Ends it. */
  end(reason: string): void;
  readonly running: boolean;
}

type Timer = ReturnType<typeof setTimeout> | undefined;

export function newConnection(options: ClientOptions, owner: ConnectionOwner): Connection {
  /** Counts attempts: what an older one was waiting for is of no interest. */
  let turn = 0;
  let running = false;
  let link: Link | undefined;
  let live = false;
  let liveSince = 0;
  /** The token of this session, or of the attempt; and one that is of no use any more. */
  let token: string | undefined;
  let refused: string | undefined;
  /** Sent to renew the session, and not accepted yet. */
  let renewed: string | undefined;
  let failures = 0;
  /** Attempts in a row over a WebSocket that ended without a word. */
  let silences = 0;
  let retry: Timer;
  let deadline: Timer;
  let pings: Timer;
  let renewal: Timer;
  let sleepless: (() => void) | undefined;

  /** Nothing of the present attempt is left. */
  function hangUp(): number {
    for (const timer of [retry, deadline, pings, renewal]) clearTimeout(timer);
    retry = deadline = renewed = undefined;
    link?.close();
    link = undefined;
    live = false;
    return ++turn;
  }

  function end(reason: string, code?: number): void {
    hangUp();
    running = false;
    refused = undefined;
    sleepless?.();
    sleepless = undefined;
    owner.ended(reason, code);
  }

  /** The session or the attempt is over. */
  function lose(reason: string, code = BROKEN): void {
    const unauthorized = code === UNAUTHORIZED;
    if (live && performance.now() - liveSince > STABLE_MS) failures = 0;
    // Another token may be good, at once; if it is not, wait.
    const delay = unauthorized && live && !failures ? 0 : delayOf(failures, code);
    if (unauthorized) refused = token;
    hangUp();
    if (!mayReturn(code)) return end(wordsOf(code, reason), code);
    failures++;
    // The owner may end it.
    retry = setTimeout(attempt, delay, unauthorized ? "refused" : "connect");
    owner.lost(wordsOf(code, reason), Date.now() + delay);
  }

  /** Answers `undefined` where another attempt has begun meanwhile. */
  async function ask(reason: TokenRequest["reason"]): Promise<string | null | undefined> {
    const mine = turn;
    const answer = await options.getToken({ reason });
    return mine === turn ? (answer ?? null) : undefined;
  }

  async function attempt(reason: TokenRequest["reason"]): Promise<void> {
    const mine = hangUp();
    deadline = setTimeout(() => {
      if (link) silences++;
      lose("the daemon does not answer");
    }, CONNECT_MS);
    owner.lost("connecting");
    if (mine !== turn) return;
    try {
      const answer = await ask(reason);
      if (answer === undefined) return;
      if (!answer) return end("nobody is logged in");
      if (answer === refused) return end(wordsOf(UNAUTHORIZED, ""), UNAUTHORIZED);
      token = answer;
      await open(mine);
    } catch (error) {
      if (mine === turn) lose(`it could not be connected: ${error}`);
    }
  }

  async function open(mine: number): Promise<void> {
    const Socket = options.WebSocket ?? globalThis.WebSocket;
    const streams = options.eventsUrl !== false && (!Socket || silences >= SILENCES_MAX);
    const transport: Transport = streams ? "event-stream" : "websocket";
    let silent = true;
    const handlers: LinkOwner = {
      opened() {
        if (token) link?.send({ type: "auth", token });
      },
      heard(frame) {
        silent = false;
        hear(frame, transport);
      },
      ended(code, reason) {
        // After each event stream one attempt over a WebSocket: the network may be another one.
        if (streams) silences = SILENCES_MAX - 1;
        else silences = silent && code === BROKEN ? silences + 1 : 0;
        lose(reason, code);
      },
    };
    if (streams) {
      const { openStream } = await import("./stream.js");
      if (mine === turn) link = openStream(options.url, options.eventsUrl || undefined, handlers);
    } else {
      if (!Socket) throw new Error("there is no WebSocket here: give one in the options");
      link = openSocket(options.url, handlers, Socket);
    }
  }

  function hear(frame: ServerFrame, transport: Transport): void {
    if (live) {
      clearTimeout(deadline);
      deadline = undefined;
    }
    if (frame.type !== "authenticated") {
      owner.heard(frame);
      return;
    }
    token = renewed ?? token;
    renewed = undefined;
    renewAt(frame.expires_at * 1000);
    if (live) return;
    clearTimeout(deadline);
    deadline = undefined;
    live = true;
    liveSince = performance.now();
    pings = setInterval(check, PING_MS);
    owner.began(frame.subject, transport);
  }

  /** Whoever is there answers in time, or has said something meanwhile. */
  function check(): void {
    link?.send({ type: "ping" });
    deadline ??= setTimeout(() => lose("the network is gone"), PONG_MS);
  }

  function renewAt(expires: number): void {
    const left = expires - Date.now();
    // A token that was accepted and has expired: our clock is wrong.
    const wait = left > 0 ? Math.max(left - RENEW_MS, left * 0.8, 5_000) : RENEW_MS;
    clearTimeout(renewal);
    renewal = setTimeout(renew, Math.min(wait, TIMER_MAX_MS), expires);
  }

  /** Before the token expires. Where there is no other yet, it is asked for again. */
  async function renew(expires: number): Promise<void> {
    try {
      const answer = await ask("renew");
      if (answer === undefined) return;
      if (!answer) return end("nobody is logged in");
      if (answer !== token) {
        // That of another user ends this session with 4401, and the next one is theirs.
        renewed = answer;
        link?.send({ type: "auth", token: answer });
      }
    } catch {
      // It is asked again, and at last the daemon says that the token has expired.
    }
    renewAt(expires);
  }

  /** The network may be back, or gone. */
  function awake(): void {
    if (live) check();
    else if (retry !== undefined) {
      failures = 0;
      void attempt("connect");
    }
  }

  return {
    send(frame) {
      link?.send(frame);
    },
    connect() {
      running = true;
      failures = silences = 0;
      refused = undefined;
      sleepless ??= onWakeUp(awake);
      void attempt("connect");
    },
    end,
    get running() {
      return running;
    },
  };
}
