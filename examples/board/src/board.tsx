import type { Client, ProjectState } from "pgherald";
import { useProject } from "pgherald/react";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { type Api, ApiError, fetches, type Project, STATUSES, type Task } from "./api.ts";
import { Avatar } from "./avatar.tsx";
import { Column, NAMES } from "./column.tsx";
import { useFlashes } from "./flashes.ts";
import { Mark } from "./login.tsx";
import { StaleBar, StatusPill } from "./status-pill.tsx";
import { draftId, useTasks, useWrite, type Write } from "./tasks.ts";

interface Props {
  readonly client: Client;
  readonly api: Api;
  readonly user: string;
  readonly project: Project;
  readonly leave: () => void;
}

export function Board({ client, api, user, project, leave }: Props) {
  const state = useProject(project.id);
  const tasks = useTasks(api, project.id);
  const write = useWrite(api, project.id);
  const flashes = useFlashes(client, project.id);
  const [said, setSaid] = useState("");
  const moved = useRef<Actions["moved"]["current"]>(null);
  useEffect(() => {
    document.title = `${project.name} · ${user}`;
  }, [project, user]);

  const mutate = (change: Write, saying: string) => {
    setSaid(saying);
    write.mutate(change);
  };
  const actions: Actions = {
    moved,
    add: (title) => mutate({ kind: "add", id: draftId(), draft: { title, status: "todo" } }, `Added “${title}”`),
    move(task, status) {
      if (task.status !== status) {
        mutate({ kind: "change", id: task.id, draft: { status } }, `Moved “${task.title}” to ${NAMES[status]}`);
      }
    },
    rename(task, title) {
      if (title && title !== task.title)
        mutate({ kind: "change", id: task.id, draft: { title } }, `Renamed to “${title}”`);
    },
    remove: (task) => mutate({ kind: "remove", id: task.id }, `Deleted “${task.title}”`),
  };
  const gone = refusal(state, tasks.error, tasks.data !== undefined);

  return (
    <div className="page">
      <header>
        <div className="bar">
          <Mark />
          <h1>{project.name}</h1>
          <StatusPill client={client} />
          <div className="me">
            <Avatar user={user} />
            <span data-testid="user">{user}</span>
            <button type="button" className="plain" data-testid="leave" onClick={leave}>
              Leave
            </button>
          </div>
        </div>
        <StaleBar />
      </header>
      {write.isError && (
        <p className="alert" role="alert" data-testid="error">
          That did not work: {write.error.message}.
          <button type="button" className="plain" onClick={() => write.reset()}>
            Dismiss
          </button>
        </p>
      )}
      {gone ? (
        <main className="notice" data-testid="notice">
          <h2>{gone}</h2>
          <button type="button" className="primary" onClick={leave}>
            Choose another project
          </button>
        </main>
      ) : (
        <main className="columns" data-testid="board" aria-busy={tasks.isPending}>
          {STATUSES.map((status) => (
            <Column
              key={status}
              status={status}
              tasks={tasks.data?.filter((task) => task.status === status)}
              find={(id) => tasks.data?.find((task) => task.id === id)}
              flashes={flashes}
              actions={actions}
            />
          ))}
        </main>
      )}
      <footer>
        <FetchCount />
        <span>No polling: cards are fetched again when the database says that they have changed.</span>
      </footer>
      <p className="unseen" aria-live="polite">
        {said}
      </p>
    </div>
  );
}

/** What a person can do with cards. */
export interface Actions {
  /** The card that was moved with a button, which wants its focus back. */
  readonly moved: { current: { readonly id: string; readonly by: string } | null };
  add(title: string): void;
  move(task: Task, status: Task["status"]): void;
  rename(task: Task, title: string): void;
  remove(task: Task): void;
}

/** Why there is nothing to see. Cards that are there stay while the API is away. */
function refusal(state: ProjectState, error: Error | null, shown: boolean): string | undefined {
  if (state === "revoked") return "You are not a member of this project any more.";
  if (state === "refused" || (error instanceof ApiError && error.status === 403)) {
    return "You are not a member of this project.";
  }
  return error && !shown ? `The tasks could not be fetched: ${error.message}.` : undefined;
}

function FetchCount() {
  const count = useSyncExternalStore(
    (changed) => {
      fetches.listeners.add(changed);
      return () => fetches.listeners.delete(changed);
    },
    () => fetches.count,
  );
  return (
    <span>
      Tasks fetched <output data-testid="fetches">{count}</output> {count === 1 ? "time" : "times"}
    </span>
  );
}
