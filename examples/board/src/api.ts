import type { Account } from "./account.ts";

export interface Project {
  readonly id: string;
  readonly name: string;
}

export const STATUSES = ["todo", "doing", "done"] as const;
export type TaskStatus = (typeof STATUSES)[number];

export interface Task {
  readonly id: string;
  readonly title: string;
  readonly status: TaskStatus;
  readonly sprint: string | null;
}

export interface Draft {
  readonly title?: string;
  readonly status?: TaskStatus;
}

/** What the API answered where it did not do as asked. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The application's API, as one account sees it. */
export interface Api {
  projects(): Promise<Project[]>;
  tasks(project: string, signal?: AbortSignal): Promise<Task[]>;
  add(project: string, draft: Draft): Promise<Task>;
  change(project: string, id: string, draft: Draft): Promise<Task>;
  remove(project: string, id: string): Promise<Task>;
}

/** `origin` is what the writes of this page are called: the daemon's frames bring it back. */
export function createApi(account: Account, origin: string): Api {
  async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
    const send = async (fresh: boolean) =>
      fetch(`/api/${path}`, {
        method,
        headers: {
          Authorization: `Bearer ${await account.token(fresh)}`,
          ...(method === "GET" ? {} : { "X-Herald-Origin": origin }),
          ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal ? { signal } : {}),
      });
    let response: Response;
    try {
      response = await send(false);
      if (response.status === 401) response = await send(true);
    } catch (error) {
      // What `fetch` throws where there is no answer.
      if (error instanceof TypeError) throw new Error("the application cannot be reached");
      throw error;
    }
    const answer: unknown = await response.json().catch(() => null);
    if (response.ok) return answer as T;
    const message = (answer as { message?: string } | null)?.message;
    throw new ApiError(response.status, message ?? `HTTP status ${response.status}`);
  }

  const tasks = (project: string) => `projects/${encodeURIComponent(project)}/tasks`;
  const task = (project: string, id: string) => `${tasks(project)}/${encodeURIComponent(id)}`;
  return {
    projects: () => call("GET", "projects"),
    tasks(project, signal) {
      fetches.begin();
      return call("GET", tasks(project), undefined, signal);
    },
    add: (project, draft) => call("POST", tasks(project), draft),
    change: (project, id, draft) => call("PATCH", task(project, id), draft),
    remove: (project, id) => call("DELETE", task(project, id)),
  };
}

/** How often this page has fetched tasks: what a cache that is told what is stale keeps low. */
export const fetches = {
  count: 0,
  listeners: new Set<() => void>(),
  begin() {
    this.count += 1;
    for (const listener of this.listeners) listener();
  },
};
