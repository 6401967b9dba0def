/** The client: who listens to what, over one connection. */

import { newConnection } from "./connection.js";
import type { HeraldEvent, Listener } from "./events.js";
import type { ServerFrame } from "./frames.js";
import { address, UNKNOWN } from "./link.js";
import { call, listen } from "./listeners.js";
import { change, concerns, newProject, type Project, question, wanted } from "./project.js";
import type { ProjectState, Status, Transport } from "./status.js";
import type { Client, ClientOptions, SubscribeOptions } from "./types.js";

/** The database could not be asked who may see a project: ask again after a random part of this. */
const UNAVAILABLE_MS = 10_000;

/**
 * A client of the daemon at `options.url`. It connects with the first subscription.
 * @throws TypeError where `url` is no address.
 */
export function createClient(options: ClientOptions): Client {
  address(options.url, "wss:", "ws:");
  const projects = new Map<string, Project>();
  const everything = new Set<{ listener: Listener }>();
  const watchers = new Set<{ listener: (status: Status) => void }>();
  let status: Status = { state: "connecting", reason: "nothing is subscribed to yet" };
  /** Of the session; absent while there is none. */
  let session: { subject: string; transport: Transport } | undefined;
  let subject: string | undefined;
  let refs = 0;
  let planned = false;

  const connection = newConnection(options, {
    began(now, transport) {
      const other = subject !== undefined && subject !== now;
      session = { subject: now, transport };
      subject = now;
      for (const project of projects.values()) {
        if (other) forget(project, "user_changed");
        project.asked = undefined;
        ask(project);
      }
      review();
    },
    heard,
    lost(reason, retryAt) {
      leave();
      become({ state: covered() ? "stale" : "connecting", reason, ...(retryAt && { retryAt }) });
    },
    ended(reason, code) {
      leave();
      become({ state: "closed", reason, ...(code && { code }) });
    },
  });

  const covered = () => [...projects.values()].some((project) => project.covered);

  /** There is no session any more. */
  function leave(): void {
    session = undefined;
    for (const project of projects.values()) if (project.state === "live") project.state = "stale";
  }

  /** Nothing is known of it: whoever hears of it again must fetch. */
  function forget(project: Project, reason = "subscribed"): void {
    clearTimeout(project.refetch);
    clearTimeout(project.later);
    project.covered = false;
    project.refetch = project.cursor = project.asked = project.ref = undefined;
    project.reason = reason;
    for (const subscriber of project.subscribers) {
      subscriber.covered = false;
      subscriber.options = { ...subscriber.options, since: undefined };
    }
  }

  function become(next: Status): void {
    if (JSON.stringify(next) !== JSON.stringify(status)) {
      status = next;
      call(watchers, status);
    }
  }

  /** The status that follows from the projects: one that is new takes nothing away from the others. */
  function review(): void {
    if (!session) return;
    const states = [...projects.values()].map(({ state }) => state);
    if (states.includes("stale")) become({ state: "stale", reason: "catching up" });
    else if (states.includes("live") || !states.includes("pending")) {
      become({ state: "live", reason: "every change is told", ...session });
    } else become({ state: "connecting", reason: "subscribing" });
  }

  function move(project: Project, state: ProjectState): void {
    if (project.state === state) return;
    project.state = state;
    const before = status;
    review();
    if (before === status) call(watchers, status);
  }

  function publish(project: Project, event: HeraldEvent): void {
    call(
      [...project.subscribers].filter(({ options }) => concerns(event, options)),
      event,
    );
    call(everything, event);
  }

  /** Asks for what its subscribers want together. */
  function ask(project: Project): void {
    const wish = JSON.stringify(wanted(project));
    if (!session || wish === project.asked) return;
    const again = project.asked !== undefined && !project.ref;
    project.asked = wish;
    project.ref = `${++refs}`;
    if (project.state !== "live" && !project.covered) move(project, "pending");
    connection.send(question(project, project.ref, again));
  }

  /** From now on it is told of every change: whoever came without having heard the last ones must fetch. */
  function acknowledge(project: Project): void {
    const { reason } = project;
    // Who listens to everything has missed nothing, unless more is heard now.
    const wider = !project.covered || project.wish !== project.asked;
    const late = [...project.subscribers].filter((subscriber) => !subscriber.covered);
    for (const subscriber of late) subscriber.covered = true;
    project.covered = true;
    project.reason = "subscribed";
    project.wish = project.asked;
    move(project, project.refetch ? "stale" : "live");
    const event = { type: "refetch", projectId: project.id, reason } as const;
    if (late.length) call(late, event);
    if (late.length && wider) call(everything, event);
  }

  /** After the present task, in which somebody may leave and come back. */
  function plan(): void {
    if (planned) return;
    planned = true;
    queueMicrotask(() => {
      planned = false;
      for (const project of projects.values()) {
        if (!project.subscribers.size) {
          if (project.asked !== undefined) connection.send({ type: "unsubscribe", project_id: project.id });
          forget(project);
          projects.delete(project.id);
        } else if ([...project.subscribers].some((subscriber) => !subscriber.covered && !silent(project))) {
          ask(project);
          if (session && !project.ref) acknowledge(project);
        }
      }
      review();
    });
  }

  /** All of it may be stale. Not everybody fetches at the same moment. */
  function refetch(project: Project, reason: string, spread: number): void {
    project.refetch ??= setTimeout(() => {
      project.refetch = undefined;
      if (session && project.asked !== undefined && !project.ref) move(project, "live");
      publish(project, { type: "refetch", projectId: project.id, reason });
    }, Math.random() * spread);
    move(project, "stale");
  }

  function heard(frame: ServerFrame): void {
    const named = "project_id" in frame && frame.project_id !== undefined;
    const concerned = named ? projects.get(`${frame.project_id}`) : undefined;
    const cursor = "cursor" in frame ? frame.cursor : undefined;
    switch (frame.type) {
      case "cache_invalidate":
        if (!concerned) return;
        // Before a refetch that waits, nobody has heard everything up to here.
        publish(concerned, change(concerned.refetch ? { ...frame, cursor: undefined } : frame));
        concerned.cursor = cursor ?? concerned.cursor;
        return;
      case "reconnect":
        for (const project of named ? (concerned ? [concerned] : []) : projects.values()) {
          refetch(project, frame.data.reason, frame.data.spread_ms);
        }
        return;
      case "subscribed":
        if (!concerned || frame.ref !== concerned.ref) return;
        // Whoever came in this very moment may want more than was asked for.
        ask(concerned);
        if (frame.ref !== concerned.ref) return;
        concerned.ref = undefined;
        concerned.cursor = cursor ?? concerned.cursor;
        return acknowledge(concerned);
      case "pong":
        for (const project of named ? (concerned ? [concerned] : []) : projects.values()) {
          if (project.asked !== undefined && !project.ref) project.cursor = cursor ?? project.cursor;
        }
        return;
      case "revoked":
        if (!concerned) return;
        forget(concerned);
        move(concerned, "revoked");
        return publish(concerned, { type: "revoked", projectId: concerned.id, reason: frame.reason });
      case "error":
        return refuse(frame);
    }
  }

  function refuse({ ref, code, message }: Extract<ServerFrame, { type: "error" }>): void {
    const project = ref && [...projects.values()].find((project) => project.ref === ref);
    if (!project) return;
    if (code === "unavailable") {
      project.asked = project.ref = undefined;
      clearTimeout(project.later);
      project.later = setTimeout(ask, (0.1 + Math.random()) * UNAVAILABLE_MS, project);
      return;
    }
    forget(project);
    move(project, "refused");
    publish(project, { type: "refused", projectId: project.id, code, message });
  }

  return {
    origin: options.origin ?? crypto.randomUUID(),
    get status() {
      return status;
    },
    subscribe(projectId: string, given: SubscribeOptions | Listener, then?: Listener) {
      const [options, listener] = typeof given === "function" ? [{}, given] : [given, then as Listener];
      const subscriber = { options, listener, covered: false };
      const project = projects.get(projectId) ?? newProject(projectId);
      projects.set(projectId, project);
      project.subscribers.add(subscriber);
      if (silent(project)) project.state = "pending";
      if (!connection.running) connection.connect();
      plan();
      return () => {
        subscriber.listener = () => {};
        if (project.subscribers.delete(subscriber)) plan();
      };
    },
    onEvent: (listener) => listen(everything, listener),
    onStatus: (listener) => listen(watchers, listener),
    project: (projectId) => projects.get(projectId)?.state ?? "none",
    cursor(projectId) {
      const project = projects.get(projectId);
      return project?.refetch ? UNKNOWN : project?.cursor;
    },
    reconnect: connection.connect,
    close() {
      // What it was about to tell is told by the next refetch.
      for (const project of projects.values()) {
        clearTimeout(project.later);
        if (project.refetch) forget(project);
      }
      connection.end("it was closed");
    },
  };
}

/** The daemon does not tell of it. */
const silent = ({ state }: Project) => state === "refused" || state === "revoked";
