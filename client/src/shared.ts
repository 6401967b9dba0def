/** One connection for all tabs of a browser: the tab that holds a Web Lock has it, and tells the others. */

import { createClient } from "./client.js";
import type { HeraldEvent, Listener, Unsubscribe } from "./events.js";
import { type Leader, newLeader, type Report, type Wish } from "./leader.js";
import { address, UNKNOWN } from "./link.js";
import { call, listen } from "./listeners.js";
import type { ProjectState, Status } from "./status.js";
import type { Client, ClientOptions, SubscribeOptions } from "./types.js";

export interface SharedClientOptions extends ClientOptions {
  /**
   * Tabs of one origin with the same name share a connection. Default: the daemon's address. Name the user in it where
   * several may be logged in at the same time.
   */
  readonly name?: string;
}

/** What tabs say to each other. */
type Message =
  | Report
  | { readonly type: "leading" }
  | { readonly type: "wishes"; readonly tab: string; readonly wishes: readonly Wish[] }
  | { readonly type: "reconnect" };

interface Subscriber {
  wish: Wish;
  readonly listener: Listener;
  /** It was told of everything up to the cursor of its project. */
  covered: boolean;
}

/**
 * A client like that of `createClient`, whose connection is shared by all tabs of this browser with the same `name`. When
 * the tab that has it goes, another one goes on where it was. Where there are no Web Locks or BroadcastChannels, each tab
 * has its own.
 * @throws TypeError where `url` is no address.
 */
export function createSharedClient(options: SharedClientOptions): Client {
  if (!globalThis.navigator?.locks || !globalThis.BroadcastChannel) return createClient(options);
  const url = address(options.url, "wss:", "ws:");
  const name = `pgherald ${options.name ?? url.href}`;
  const tab = crypto.randomUUID();
  const subscribers = new Map<number, Subscriber>();
  const everything = new Set<{ listener: Listener }>();
  const watchers = new Set<{ listener: (status: Status) => void }>();
  const states = new Map<string, ProjectState>();
  const cursors = new Map<string, string>();
  let status: Status = { state: "connecting", reason: "nothing is subscribed to yet" };
  let ids = 0;
  /** The number of the event that was told last. */
  let newest = 0;
  /** While it takes part. */
  let room: { channel: BroadcastChannel; leave: AbortController; present: boolean } | undefined;
  let leader: Leader | undefined;
  /** Whose session it was last; and whether another leader began since then, who does not know that. */
  let subject: string | undefined;
  let changed = false;
  let planned = false;

  function enter(): void {
    if (room) return;
    const here = { channel: new BroadcastChannel(name), leave: new AbortController(), present: false };
    room = here;
    here.channel.onmessage = ({ data }) => receive(data);
    const { signal } = here.leave;
    const left = () => new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    // Whoever gets it knows that this tab has gone, however it went. So it says nothing before it has it.
    const present = navigator.locks.request(`${name} ${tab}`, { signal }, () => {
      here.present = true;
      wish();
      return left();
    });
    const leading = navigator.locks.request(name, { signal }, () => {
      leader = newLeader(options, say);
      say({ type: "leading" });
      return left();
    });
    for (const request of [present, leading]) request.catch(() => {});
  }

  /** To all tabs, this one too. */
  function say(message: Message): void {
    room?.channel.postMessage(message);
    receive(message);
  }

  /** What it wants, from where it is. */
  function wishOf({ wish, covered }: Subscriber): Wish {
    const since = covered ? (cursors.get(wish.projectId) ?? UNKNOWN) : wish.options.since;
    return { ...wish, options: { ...wish.options, since } };
  }

  /** Says what this tab wants, after the present task, in which more may come and go. */
  function wish(): void {
    if (planned) return;
    planned = true;
    queueMicrotask(() => {
      planned = false;
      if (room?.present) say({ type: "wishes", tab, wishes: [...subscribers.values()].map(wishOf) });
    });
  }

  function receive(message: Message): void {
    switch (message.type) {
      case "leading":
        changed = true;
        return wish();
      case "wishes":
        return wanted(message.tab, message.wishes);
      case "reconnect":
        return leader?.client.reconnect();
      case "state":
        for (const [projectId, state, cursor] of message.projects) {
          states.set(projectId, state);
          if (cursor) cursors.set(projectId, cursor);
        }
        if (JSON.stringify(status) !== JSON.stringify(message.status)) status = message.status;
        if (status.state === "live") became(status.subject);
        return call(watchers, status);
      case "told":
        return told(message.event, message.number, message.tab === tab ? subscribers.get(message.id) : undefined);
    }
  }

  /** A leader tells of users that change, but not of one that has changed with the leader. */
  function became(now: string): void {
    const other = changed && subject !== undefined && subject !== now;
    subject = now;
    changed = false;
    if (!other) return;
    const before = [...subscribers.values()].filter(({ wish, covered }) => covered || wish.options.since);
    for (const projectId of new Set(before.map(({ wish }) => wish.projectId))) {
      const event = { type: "refetch", projectId, reason: "user_changed" } as const;
      call(
        before.filter(({ wish }) => wish.projectId === projectId),
        event,
      );
      call(everything, event);
    }
  }

  function wanted(from: string, wishes: readonly Wish[]): void {
    if (!leader) return;
    const it = leader;
    if (from !== tab && !it.knows(from)) {
      const gone = () => leader === it && it.forget(from);
      navigator.locks.request(`${name} ${from}`, gone).catch(() => {});
    }
    it.wants(from, wishes);
  }

  function told(event: HeraldEvent, number: number, subscriber: Subscriber | undefined): void {
    // What other tabs hear, this one has heard as well, or did not ask for.
    if (event.type === "change" && event.cursor) cursors.set(event.projectId, event.cursor);
    if (!subscriber) return;
    const news = isNews(event, subscriber);
    // A change may come before it: of what others have asked for.
    if (event.type !== "change") subscriber.covered = event.type === "refetch";
    call([subscriber], event);
    // Who listens to everything hears of it once, however many have asked for the project.
    if (!news) return;
    if (number !== newest) call(everything, event);
    newest = number;
  }

  /** Whoever listens to everything has missed nothing where one more asks for what this tab hears already. */
  function isNews(event: HeraldEvent, { wish }: Subscriber): boolean {
    if (event.type !== "refetch" || event.reason !== "subscribed") return true;
    const text = ({ topics, filter }: SubscribeOptions) => JSON.stringify([topics ?? null, filter ?? null]);
    return ![...subscribers.values()].some(
      ({ wish: { id, projectId, options }, covered }) =>
        covered &&
        id !== wish.id &&
        projectId === wish.projectId &&
        [text({}), text(wish.options)].includes(text(options)),
    );
  }

  return {
    origin: options.origin ?? crypto.randomUUID(),
    get status() {
      return status;
    },
    subscribe(projectId: string, given: SubscribeOptions | Listener, then?: Listener): Unsubscribe {
      const [options, listener] = typeof given === "function" ? [{}, given] : [given, then as Listener];
      const id = ++ids;
      subscribers.set(id, { wish: { id, projectId, options }, listener, covered: false });
      enter();
      wish();
      return () => {
        if (subscribers.delete(id)) wish();
      };
    },
    onEvent: (listener) => listen(everything, listener),
    onStatus: (listener) => listen(watchers, listener),
    project(projectId) {
      const wanted = [...subscribers.values()].some(({ wish }) => wish.projectId === projectId);
      return wanted ? (states.get(projectId) ?? "pending") : "none";
    },
    cursor: (projectId) => cursors.get(projectId),
    reconnect() {
      enter();
      say({ type: "reconnect" });
    },
    close() {
      leader?.close();
      leader = undefined;
      room?.leave.abort();
      room?.channel.close();
      room = undefined;
      // The cursors of others do not count for what it does not hear from now on.
      for (const subscriber of subscribers.values()) {
        subscriber.wish = wishOf(subscriber);
        subscriber.covered = false;
      }
      status = { state: "closed", reason: "it was closed" };
      call(watchers, status);
    },
  };
}
