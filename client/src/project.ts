/** One project: who listens to it, what they want together, and how far they have heard. */

import type { ChangeEvent, HeraldEvent, Listener, RefetchReason } from "./events.js";
import type { CacheInvalidate, ClientFrame } from "./frames.js";
import { UNKNOWN } from "./link.js";
import type { ProjectState } from "./status.js";
import type { SubscribeOptions } from "./types.js";

export interface Subscriber {
  options: SubscribeOptions;
  listener: Listener;
  /** It knows from when on it hears everything. */
  covered: boolean;
}

export interface Project {
  readonly id: string;
  readonly subscribers: Set<Subscriber>;
  state: ProjectState;
  /** Somebody was told of everything up to `cursor`, or to when the connection was lost. */
  covered: boolean;
  cursor: string | undefined;
  /** What those who are covered hear of, as text. */
  wish: string | undefined;
  /** What was asked for on this connection, as text. */
  asked: string | undefined;
  /** The question that is not answered yet. */
  ref: string | undefined;
  /** Why those who are not covered yet must fetch. */
  reason: RefetchReason;
  /** A refetch that waits for its moment. */
  refetch: ReturnType<typeof setTimeout> | undefined;
  /** A question that could not be answered, and is asked again. */
  later: ReturnType<typeof setTimeout> | undefined;
}

/** The daemon takes that many; who wants more gets all. */
const TOPICS_MAX = 100;

export function newProject(id: string): Project {
  return {
    id,
    subscribers: new Set(),
    state: "pending",
    covered: false,
    cursor: undefined,
    wish: undefined,
    asked: undefined,
    ref: undefined,
    reason: "subscribed",
    refetch: undefined,
    later: undefined,
  };
}

/** What all subscribers want together. A hint may be wide: filters that differ are left out. */
export function wanted({ subscribers }: Project): Pick<SubscribeOptions, "topics" | "filter"> {
  const all = [...subscribers].map(({ options }) => options);
  const topics = [...new Set(all.flatMap(({ topics }) => (topics?.length ? topics : ["*"])))].sort();
  const [filter, ...others] = new Set(all.map(({ filter }) => JSON.stringify(filter)));
  return {
    ...(topics.length <= TOPICS_MAX && !topics.includes("*") && { topics }),
    ...(filter && !others.length && { filter: JSON.parse(filter) }),
  };
}

/** The question to ask now; `again` = it was acknowledged on this connection, so nothing is missing. */
export function question(project: Project, ref: string, again: boolean): ClientFrame {
  // Subscribers that bring the same cursor go on from there, if nobody is further.
  const brought = [...new Set([...project.subscribers].map(({ options }) => options.since))];
  const first = brought.length === 1 ? brought[0] : undefined;
  const since = again ? undefined : project.covered ? (project.cursor ?? UNKNOWN) : first;
  // Who was on the way with a cursor that is not asked for now must fetch.
  if (!project.covered) for (const subscriber of project.subscribers) subscriber.covered = first !== undefined;
  return {
    type: "subscribe",
    ref,
    project_id: project.id,
    batch: true,
    ...wanted(project),
    ...(since && { since }),
  };
}

/** Whether a subscriber has asked for this. Of what it wants it may be told more. */
export function concerns(event: HeraldEvent, { topics }: SubscribeOptions): boolean {
  if (event.type !== "change" || !topics?.length) return true;
  return topics.some((topic) => {
    const at = topic.indexOf(":");
    const id = topic.slice(at + 1);
    return (
      topic === "*" || (topic.slice(0, at) === event.resource && (id === "*" || !event.ids || event.ids.includes(id)))
    );
  });
}

/** What a listener is told of a frame. */
export function change({ resource, action, project_id, cursor, origin, data }: CacheInvalidate): ChangeEvent {
  const rows = data.rows ?? (data.row && [data.row]);
  return {
    type: "change",
    projectId: project_id,
    resource,
    action,
    ids: data.ids ?? (data.id === undefined ? null : [data.id]),
    ...(rows && { rows }),
    ...(origin !== undefined && { origin }),
    ...(cursor && { cursor }),
    timestamp: data.timestamp,
  };
}
