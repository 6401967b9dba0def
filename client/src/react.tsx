"use client";

/** Hooks for React 18 and newer. */

import {
  createContext,
  type ReactElement,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useRef,
  useSyncExternalStore,
} from "react";
import type { Listener } from "./events.js";
import type { ProjectState, Status } from "./status.js";
import type { Client, SubscribeOptions } from "./types.js";

const HeraldContext = createContext<Client | null>(null);

/** What {@link HeraldProvider} takes. */
export interface HeraldProviderProps {
  /** Made once, outside of any component. The provider neither opens nor closes it. */
  readonly client: Client;
  readonly children?: ReactNode;
}

/** Gives the client to the hooks below it. */
export function HeraldProvider({ client, children }: HeraldProviderProps): ReactElement {
  return <HeraldContext.Provider value={client}>{children}</HeraldContext.Provider>;
}

/** The client of the nearest {@link HeraldProvider}. */
export function useHeraldClient(): Client {
  const client = useContext(HeraldContext);
  if (client === null) {
    throw new Error("pgherald: there is no <HeraldProvider client={client}> around the component that uses this hook.");
  }
  return client;
}

/** What {@link useProject} may be told. Compared by value: they may be written inline. */
export interface UseProjectOptions {
  /** As in {@link SubscribeOptions}. */
  readonly topics?: SubscribeOptions["topics"] | undefined;
  /** As in {@link SubscribeOptions}. */
  readonly filter?: SubscribeOptions["filter"] | undefined;
  /** Told of every event of the subscription. The one of the last rendering is called; it need not be stable. */
  readonly onEvent?: Listener | undefined;
}

/**
 * Subscribes to a project while the component is mounted. Without an id (`null`, `undefined`) to none.
 *
 * @returns How it stands with the project: `pending` from the first rendering on, and on a server; `none` without an id.
 * @example
 * ```tsx
 * const state = useProject(projectId);
 * ```
 */
export function useProject(projectId: string | null | undefined, options: UseProjectOptions = {}): ProjectState {
  const client = useHeraldClient();
  const { topics, filter, onEvent } = options;
  const latest = useRef(onEvent);
  useEffect(() => {
    latest.current = onEvent;
  });

  const wanted = JSON.stringify({ topics, filter: filter && Object.entries(filter).sort(byName) });
  useEffect(() => {
    if (projectId == null) return;
    return client.subscribe(projectId, toOptions(wanted), (event) => latest.current?.(event));
  }, [client, projectId, wanted]);

  return useSyncExternalStore(
    useCallback((listener: () => void) => client.onStatus(listener), [client]),
    () => (projectId == null ? "none" : asked(client.project(projectId))),
    () => (projectId == null ? "none" : "pending"),
  );
}

/**
 * How it stands between the client and the daemon, for a sign on the page. On a server: `connecting`.
 *
 * @example
 * ```tsx
 * const { state } = useHeraldStatus();
 * ```
 */
export function useHeraldStatus(): Status {
  const client = useHeraldClient();
  return useSyncExternalStore(
    useCallback((listener: () => void) => client.onStatus(listener), [client]),
    () => client.status,
    () => ON_SERVER,
  );
}

const ON_SERVER: Status = { state: "connecting", reason: "rendered on a server" };

/** The subscription follows the first rendering: nobody has asked yet, but it is about to happen. */
function asked(state: ProjectState): ProjectState {
  return state === "none" ? "pending" : state;
}

function byName([one]: [string, unknown], [other]: [string, unknown]): number {
  return one < other ? -1 : 1;
}

function toOptions(wanted: string): SubscribeOptions {
  const { topics, filter } = JSON.parse(wanted);
  return { ...(topics && { topics }), ...(filter && { filter: Object.fromEntries(filter) }) };
}
