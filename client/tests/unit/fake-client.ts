/** A `Client` without a network, that counts who listens. */

import type { HeraldEvent, Listener, Unsubscribe } from "../../src/events.js";
import type { ProjectState, Status } from "../../src/status.js";
import type { Client, SubscribeOptions } from "../../src/types.js";

interface Subscription {
  readonly projectId: string;
  readonly options: SubscribeOptions;
  readonly listener: Listener;
}

export class FakeClient implements Client {
  readonly origin = "this-tab";
  status: Status = { state: "connecting", reason: "not yet" };
  readonly subscriptions = new Set<Subscription>();
  /** Ever made, also those that have ended. */
  subscribed = 0;
  readonly #states = new Map<string, ProjectState>();
  readonly #events = new Set<Listener>();
  readonly #statuses = new Set<(status: Status) => void>();

  get listeners(): number {
    return this.subscriptions.size + this.#events.size + this.#statuses.size;
  }

  subscribe(projectId: string, options: SubscribeOptions, listener: Listener): Unsubscribe;
  subscribe(projectId: string, listener: Listener): Unsubscribe;
  subscribe(projectId: string, second: SubscribeOptions | Listener, third?: Listener): Unsubscribe {
    const listener = typeof second === "function" ? second : third;
    if (!listener) throw new Error("no listener");
    const subscription = { projectId, options: typeof second === "function" ? {} : second, listener };
    this.subscribed += 1;
    this.subscriptions.add(subscription);
    if (this.project(projectId) === "none") this.tellProject(projectId, "pending");
    return () => {
      if (!this.subscriptions.delete(subscription)) return;
      if ([...this.subscriptions].every((other) => other.projectId !== projectId)) this.tellProject(projectId, "none");
    };
  }

  onEvent(listener: Listener): Unsubscribe {
    this.#events.add(listener);
    return () => this.#events.delete(listener);
  }

  onStatus(listener: (status: Status) => void): Unsubscribe {
    this.#statuses.add(listener);
    return () => this.#statuses.delete(listener);
  }

  cursor(): string | undefined {
    return undefined;
  }

  project(projectId: string): ProjectState {
    return this.#states.get(projectId) ?? "none";
  }

  reconnect(): void {}

  close(): void {}

  /** The daemon tells something. */
  tell(event: HeraldEvent): void {
    for (const listener of [...this.#events]) listener(event);
    for (const { projectId, listener } of [...this.subscriptions]) if (projectId === event.projectId) listener(event);
  }

  /** How it stands with a project changes. */
  tellProject(projectId: string, state: ProjectState): void {
    if (state === "none") this.#states.delete(projectId);
    else this.#states.set(projectId, state);
    for (const listener of [...this.#statuses]) listener(this.status);
  }

  tellStatus(status: Status): void {
    this.status = status;
    for (const listener of [...this.#statuses]) listener(status);
  }
}
