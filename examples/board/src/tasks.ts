import { type QueryClient, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useRef } from "react";
import { type Api, type Draft, fetches, type Task } from "./api.ts";

/** `syncQueryClient` finds it by the names of the project and of the table. */
export const tasksKey = (project: string) => ["projects", project, "tasks"] as const;

export function useTasks(api: Api, project: string) {
  return useQuery({ queryKey: tasksKey(project), queryFn: ({ signal }) => api.tasks(project, signal) });
}

/** A write of this page. */
export type Write =
  | { readonly kind: "add"; readonly id: string; readonly draft: Draft & { readonly title: string } }
  | { readonly kind: "change"; readonly id: string; readonly draft: Draft }
  | { readonly kind: "remove"; readonly id: string };

/** An id for a card until the database has given it one. */
let drafts = 0;
export const draftId = () => `draft-${++drafts}`;
export const isDraft = (id: string) => id.startsWith("draft-");

/**
 * Writes show at once, and are sent one after the other, so that the last one wins. The echo of a write is skipped, so
 * that nothing is fetched because of it.
 */
export function useWrite(api: Api, project: string) {
  const queryClient = useQueryClient();
  const queryKey = tasksKey(project);
  /** What is cached may be from before a write of this page: to be asked again when the last one is done. */
  const overtaken = useRef(false);
  /** Whether the same card has been written again meanwhile: what it shows is newer than the answer. */
  const outdated = ({ id }: Write) =>
    queryClient.isMutating({ mutationKey: queryKey, predicate: ({ state }) => (state.variables as Write).id === id }) >
    1;
  return useMutation({
    mutationKey: queryKey,
    scope: { id: queryKey.join() },
    mutationFn: (write: Write) => send(api, project, write),
    async onMutate(write) {
      const overlapped = queryClient.isFetching({ queryKey }) > 0;
      const began = fetches.count;
      await queryClient.cancelQueries({ queryKey });
      const before = queryClient.getQueryData<Task[]>(queryKey)?.find((task) => task.id === write.id);
      update(queryClient, project, write.id, optimistic(write, before));
      return { overlapped, began, before };
    },
    onSuccess(task, write) {
      if (outdated(write)) return;
      // A removed card stays away; a change by somebody else may have removed it meanwhile.
      const known = queryClient.getQueryData<Task[]>(queryKey)?.some(({ id }) => id === write.id) ?? false;
      if (write.kind === "add" || (write.kind === "change" && known)) update(queryClient, project, write.id, task);
    },
    onError(_error, write, begun) {
      if (begun) update(queryClient, project, write.id, begun.before);
    },
    onSettled(_task, error, _write, begun) {
      // A fetch that overlaps a write may have read before it, and nobody will tell us of our own write.
      const overlapped = !begun || begun.overlapped || begun.began !== fetches.count;
      overtaken.current ||= overlapped || error !== null;
      if (!overtaken.current || queryClient.isMutating({ mutationKey: queryKey }) > 1) return;
      overtaken.current = false;
      void queryClient.invalidateQueries({ queryKey });
    },
  });
}

function send(api: Api, project: string, write: Write): Promise<Task> {
  switch (write.kind) {
    case "add":
      return api.add(project, write.draft);
    case "change":
      return api.change(project, write.id, write.draft);
    case "remove":
      return api.remove(project, write.id);
    default:
      return write satisfies never;
  }
}

/** The card as it will be; none where it goes. */
function optimistic(write: Write, before: Task | undefined): Task | undefined {
  switch (write.kind) {
    case "add":
      return { status: "todo", sprint: null, ...write.draft, id: write.id };
    case "change":
      return before && { ...before, ...write.draft };
    case "remove":
      return undefined;
    default:
      return write satisfies never;
  }
}

/** Puts `task` into the place of the card `id`. */
function update(queryClient: QueryClient, project: string, id: string, task: Task | undefined) {
  queryClient.setQueryData<Task[]>(tasksKey(project), (tasks) => {
    if (!tasks) return tasks;
    const others = tasks.filter((other) => other.id !== id && other.id !== task?.id);
    return task ? [...others, task].sort(byAge) : others;
  });
}

/** Drafts are the youngest. */
function byAge(a: Task, b: Task): number {
  const age = ({ id }: Task) => (isDraft(id) ? Number.MAX_SAFE_INTEGER : Number(id));
  return age(a) - age(b);
}
