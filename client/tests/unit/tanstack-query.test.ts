import { InfiniteQueryObserver, onlineManager, QueryClient, QueryObserver, skipToken } from "@tanstack/query-core";
import { QueryClient as OldestQueryClient, QueryObserver as OldestQueryObserver } from "query-core-oldest";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ChangeEvent } from "../../src/events.js";
import { type QueryClientLike, type SyncQueryClientOptions, syncQueryClient } from "../../src/tanstack-query.js";
import { FakeClient } from "./fake-client.js";

const OTHER = "3f2b0c5e-1111-4222-8333-944455566677";
const ROW = "0aa1b2c3-1111-4222-8333-944455566677";
const ANOTHER_ROW = "0aa1b2c3-9999-4222-8333-944455566677";

let client: FakeClient;
let queryClient: QueryClient;
let stops: (() => void)[];

beforeEach(() => {
  vi.useFakeTimers();
  client = new FakeClient();
  queryClient = new QueryClient({ defaultOptions: { queries: { staleTime: Number.POSITIVE_INFINITY, retry: false } } });
  stops = [];
});

afterEach(() => {
  for (const stop of stops) stop();
  onlineManager.setOnline(true);
  queryClient.clear();
  expect(client.listeners).toBe(0);
  vi.useRealTimers();
});

function sync(options: Partial<SyncQueryClientOptions> = {}): () => void {
  const stop = syncQueryClient({ client, queryClient, ...options });
  stops.push(stop);
  return stop;
}

function change(event: Partial<ChangeEvent> = {}): ChangeEvent {
  return { type: "change", projectId: "7", resource: "task", action: "UPDATE", ids: ["1"], ...event };
}

function invalidated(queryKey: readonly unknown[]): boolean | undefined {
  return queryClient.getQueryState(queryKey)?.isInvalidated;
}

/** Puts the keys into the cache and returns those that the event makes stale. */
function staleOf(keys: readonly (readonly unknown[])[], event = change(), options = {}): unknown[] {
  for (const key of keys) queryClient.setQueryData(key, "data");
  const stop = sync(options);
  client.tell(event);
  stop();
  return keys.filter((key) => invalidated(key));
}

/** A query function whose fetches are answered by hand, in any order. */
function source() {
  const answers: ((value: unknown) => void)[] = [];
  const failures: ((error: unknown) => void)[] = [];
  const queryFn = vi.fn((_context: unknown): Promise<unknown> => {
    return new Promise((resolve, reject) => {
      answers.push(resolve);
      failures.push(reject);
    });
  });
  return {
    queryFn,
    answer: async (place: number, value: unknown) => {
      answers[place]?.(value);
      await vi.advanceTimersByTimeAsync(0);
    },
    fail: async (place: number) => {
      failures[place]?.(new Error("no"));
      await vi.advanceTimersByTimeAsync(0);
    },
  };
}

function mount(options: ConstructorParameters<typeof QueryObserver>[1]) {
  const observer = new QueryObserver(queryClient, options);
  const unmount = observer.subscribe(() => {});
  stops.push(unmount);
  return { observer, unmount };
}

describe("which queries a change makes stale", () => {
  it("finds the usual layouts of keys", () => {
    client.tellProject("7", "live");
    const keys = [
      ["tasks"],
      ["task"],
      ["tasks", "list", "7"],
      ["tasks", "list", { projectId: 7 }],
      ["tasks", "list", { page: 2 }],
      ["tasks", "detail", 1],
      ["tasks", "detail", "1"],
      ["task", 1],
      ["tasks", "7"],
      ["projects", "7", "tasks", { done: true }],
      ["project", 7, "tasks"],
      [["task", "byId"], { input: 1 }],
      [{ scope: "tasks", entity: "list" }],
      ["/api/projects/7/tasks?done=true"],
      ["Tasks"],
      ["tasks.list"],
      ["task:1"],
      ["/api/projects/7/tasks.json"],
    ];
    expect(staleOf(keys)).toEqual(keys);
    const dotted = [["shop.tasks"], ["shop.tasks", 1]];
    expect(staleOf(dotted, change({ resource: "shop.task" }))).toEqual(dotted);
  });

  it("leaves other resources alone", () => {
    expect(
      staleOf([["comments"], ["comments", "list", "7"], ["taskforce"], ["getTasks"], ["user", { task: 1 }], [5, null]]),
    ).toEqual([]);
  });

  it.each([
    ["category", "categories"],
    ["status", "statuses"],
    ["address", "addresses"],
    ["box", "boxes"],
    ["boxes", "box"],
    ["shelf", "shelves"],
    ["person", "people"],
    ["analysis", "analyses"],
    ["news", "news"],
    ["order_item", "orderItems"],
    ["order_item", "order-items"],
    ["order_item", "order_items"],
    ["tasks", "task"],
    ["categories", "category"],
    ["constructor", "constructors"],
  ])("%s is also %s", (resource, name) => {
    const keys = [[name], [name, "list", "7"], [resource, 1]];
    expect(staleOf(keys, change({ resource }), { keys: {}, refetchType: {} })).toEqual(keys);
  });

  it("takes other names of the user", () => {
    const names = { person: ["folks", "Leute"] };
    expect(staleOf([["folks"], ["leute"], ["crowd"]], change({ resource: "person" }), { names })).toEqual([
      ["folks"],
      ["leute"],
    ]);
  });

  it("leaves the details of other rows alone", () => {
    const others = [
      ["tasks", "detail", 2],
      ["task", "2"],
      ["task", 2],
      ["projects", "7", "task", 2],
    ];
    expect(staleOf([...others, ["task", 1]])).toEqual([["task", 1]]);
  });

  it("compares uuids without regard to case", () => {
    const keys = [
      ["task", ROW.toUpperCase()],
      ["task", ANOTHER_ROW],
    ];
    expect(staleOf(keys, change({ ids: [ROW] }))).toEqual([["task", ROW.toUpperCase()]]);
  });

  it("invalidates whatever is in doubt", () => {
    const keys = [
      ["task", "fix-the-door"], // a slug
      ["task", 7], // the project?
      ["task", 2, "subtasks"], // a row may be in the answer for another one
      ["tasks", 2], // a task, a page, a project?
      ["tasks", "detail", 2, { with: "children" }],
      ["tasks", "list", 8], // a page?
      ["tasks", "list", "9"], // nobody subscribed to 9
      ["tasks", "9"],
      ["tasks", "list", { ids: [8] }],
    ];
    client.tellProject("8", "live");
    client.tellProject("7", "live");
    expect(staleOf(keys)).toEqual(keys);
  });

  it("where one word is singular and plural an id may be a project's", () => {
    const keys = [
      ["news", 2],
      ["news", "detail", 2],
    ];
    expect(staleOf(keys, change({ resource: "news" }))).toEqual([["news", 2]]);
  });

  it("without ids all rows are meant", () => {
    const keys = [
      ["tasks", "detail", 2],
      ["task", 2],
      ["tasks", "8"],
    ];
    client.tellProject("8", "live");
    expect(staleOf(keys, change({ ids: null }))).toEqual(keys);
  });

  it("leaves lists of another known project alone", () => {
    client.tellProject("8", "live");
    client.tellProject("7", "live");
    client.tellProject(OTHER, "live");
    const others = [
      ["tasks", "list", "8"],
      ["tasks", "8"],
      ["tasks", "list", { projectId: 8 }],
      ["tasks", { project_id: "8", done: true }],
      ["tasks", { where: { project: "8" } }],
      ["projects", 8, "tasks"],
      ["/projects/8/tasks"],
      [["projects", 8], "tasks"],
      ["tasks", { projectIds: [8] }],
      ["tasks", OTHER],
      ["tasks", "anything", OTHER.toUpperCase()],
    ];
    const both = ["tasks", "list", { projectIds: [7, 8] }];
    expect(staleOf([...others, both])).toEqual([both]);
  });

  it("['tasks', '8'] is task 8 as well as project 8", () => {
    client.tellProject("8", "live");
    expect(staleOf([["tasks", "8"]], change({ ids: ["8"] }))).toEqual([["tasks", "8"]]);
  });

  it("asks `belongs` first", () => {
    const belongs = ([, board]: readonly unknown[]) =>
      board === "mine" ? true : board === "theirs" ? false : undefined;
    client.tellProject("8", "live");
    const keys = [
      ["tasks", "mine", { projectId: 8 }],
      ["tasks", "theirs"],
      ["tasks", "x"],
    ];
    expect(staleOf(keys, change(), { belongs })).toEqual([keys[0], keys[2]]);
  });
});

describe("keys of the user", () => {
  const keys = [["board", 7], ["board", 8], ["board", 7, "cards"], ["tasks"]];

  it("by resource, ids compared as texts", () => {
    expect(staleOf(keys, change(), { keys: { task: [["board", "7"]] } })).toEqual([keys[0], keys[2]]);
  });

  it("by resource, as a function", () => {
    const task = ({ projectId }: ChangeEvent) => [["board", projectId]];
    expect(staleOf(keys, change(), { keys: { task } })).toEqual([keys[0], keys[2]]);
  });

  it("one function for all", () => {
    expect(staleOf(keys, change(), { keys: ({ projectId }: ChangeEvent) => [["board", projectId]] })).toEqual([
      keys[0],
      keys[2],
    ]);
  });

  it("of an object in a key what the prefix names", () => {
    const lists = [
      ["tasks", "list", { projectId: 7, page: 1 }],
      ["tasks", "list", { projectId: 8, page: 1 }],
    ];
    const task = ({ projectId }: ChangeEvent) => [["tasks", "list", { projectId }]];
    expect(staleOf(lists, change(), { keys: { task } })).toEqual([lists[0]]);
  });

  it("a resource may be called like a property of all objects", () => {
    const { queryFn } = source();
    queryClient.setQueryData(["constructors"], "data");
    mount({ queryKey: ["constructors"], queryFn });
    expect(staleOf(keys, change({ resource: "constructor" }), { keys: {}, names: {}, refetchType: {} })).toEqual([]);
    expect(queryFn).toHaveBeenCalledTimes(1);
  });

  it("undefined is the default, an empty list is nothing, another resource is the default", () => {
    expect(staleOf(keys, change(), { keys: () => undefined })).toEqual([["tasks"]]);
    queryClient.clear();
    expect(staleOf(keys, change(), { keys: { task: [] } })).toEqual([]);
    queryClient.clear();
    expect(staleOf(keys, change(), { keys: { comment: [["board"]] } })).toEqual([["tasks"]]);
  });

  it("filters", () => {
    const filters = [
      { queryKey: ["board", "7"], exact: true },
      { queryKey: ["nothing"], type: "inactive" },
      { predicate: ({ queryKey }: { queryKey: readonly unknown[] }) => queryKey[1] === 8 },
    ];
    expect(staleOf(keys, change(), { keys: { task: filters } })).toEqual([keys[0], keys[1]]);
  });

  it.each([
    [
      "throws",
      () => {
        throw new Error("mine");
      },
    ],
    ["answers nonsense", () => 5],
    [
      "gives a predicate that throws",
      () => [
        {
          predicate: () => {
            throw new Error("mine");
          },
        },
      ],
    ],
  ])("a function that %s makes all of the project stale and harms no other event", async (_, task) => {
    client.tellProject("8", "live");
    const onError = vi.fn();
    for (const key of [...keys, ["comments"], ["projects", 8]]) queryClient.setQueryData(key, "data");
    // biome-ignore lint/suspicious/noExplicitAny: nonsense is what is tested
    sync({ keys: { task: task as any, note: [["notes"]] }, onError });
    queryClient.setQueryData(["notes"], "data");
    client.tell(change({ projectId: "9" }));
    expect(onError).toHaveBeenCalledTimes(1);
    for (const key of [...keys, ["comments"]]) expect(invalidated(key)).toBe(true);
    queryClient.setQueryData(["notes"], "data");
    client.tell(change({ resource: "note" }));
    expect(invalidated(["notes"])).toBe(true);
  });

  it("tells the console where there is no onError", () => {
    const error = vi.spyOn(console, "error").mockImplementation(() => {});
    staleOf(keys, change(), {
      keys: {
        task: () => {
          throw new Error("mine");
        },
      },
    });
    expect(error).toHaveBeenCalledTimes(1);
    error.mockRestore();
  });

  it("belongs that throws is in doubt, and an onError that throws harms nothing", () => {
    const error = vi.spyOn(console, "error").mockImplementation(() => {});
    const fail = () => {
      throw new Error("mine");
    };
    expect(staleOf([["tasks"]], change(), { belongs: fail, onError: fail })).toEqual([["tasks"]]);
    expect(error).toHaveBeenCalled();
    error.mockRestore();
  });
});

describe("fetches", () => {
  it("refetches what is mounted and marks the rest", async () => {
    const { queryFn, answer } = source();
    queryClient.setQueryData(["tasks", "detail", 1], "old");
    queryClient.setQueryData(["tasks"], "old");
    const { observer } = mount({ queryKey: ["tasks"], queryFn });
    sync();
    client.tell(change());
    expect(queryFn).toHaveBeenCalledTimes(1);
    await answer(0, "new");
    expect(observer.getCurrentResult().data).toBe("new");
    expect(invalidated(["tasks"])).toBe(false);
    expect(invalidated(["tasks", "detail", 1])).toBe(true);
  });

  it.each([
    ["all", 2],
    [{ task: "all" }, 2],
    [{ "*": "all" }, 2],
    [{ task: "active", "*": "all" }, 1],
    [{ comment: "all" }, 1],
    ["none", 0],
  ] as const)("refetchType %j", async (refetchType, fetches) => {
    const { queryFn, answer } = source();
    const loaded = queryClient.fetchQuery({ queryKey: ["task", 1], queryFn });
    await answer(0, "old");
    await loaded;
    queryClient.setQueryData(["tasks"], "old");
    queryClient.setQueryData(["tasks", "only set"], "old");
    mount({ queryKey: ["tasks"], queryFn });
    queryFn.mockClear();
    sync({ refetchType });
    client.tell(change());
    expect(queryFn).toHaveBeenCalledTimes(fetches);
    await vi.advanceTimersByTimeAsync(0);
    expect(queryClient.getQueryState(["tasks", "only set"])).toMatchObject({ isInvalidated: true, status: "success" });
  });

  it.each([
    ["task", "note"],
    ["note", "task"],
  ])("the wider refetchType of %s and %s wins in one round", async (...resources) => {
    const { queryFn, answer } = source();
    const loaded = queryClient.fetchQuery({ queryKey: ["board"], queryFn });
    await answer(0, "old");
    await loaded;
    sync({ keys: () => [["board"]], refetchType: { task: "all", note: "none" } });
    client.tell(change({ resource: "other" }));
    for (const resource of resources) client.tell(change({ resource }));
    expect(queryFn).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(100);
    expect(queryFn).toHaveBeenCalledTimes(2);
  });

  it("`*` is the refetchType of the whole project", () => {
    const { queryFn } = source();
    queryClient.setQueryData(["anything"], "old");
    mount({ queryKey: ["anything"], queryFn });
    sync({ refetchType: { "*": "none" } });
    client.tell({ type: "refetch", projectId: "7", reason: "history_gap" });
    expect(queryFn).not.toHaveBeenCalled();
    expect(invalidated(["anything"])).toBe(true);
  });

  it("a query that throws harms no other", () => {
    const { queryFn } = source();
    const onError = vi.fn();
    let broken = false;
    const enabled = () => {
      if (broken) throw new Error("mine");
      return true;
    };
    queryClient.setQueryData(["tasks"], "old");
    queryClient.setQueryData(["task"], "old");
    mount({ queryKey: ["tasks"], queryFn, enabled });
    mount({ queryKey: ["task"], queryFn });
    sync({ onError });
    broken = true;
    client.tell(change());
    broken = false;
    expect(onError).toHaveBeenCalled();
    expect(invalidated(["tasks"])).toBe(true);
    expect(queryFn).toHaveBeenCalledTimes(1);
  });

  it("marks a disabled query, which fetches once it is enabled", async () => {
    const { queryFn } = source();
    queryClient.setQueryData(["tasks"], "old");
    const { observer } = mount({ queryKey: ["tasks"], queryFn, enabled: false });
    sync({ refetchType: "all" });
    client.tell(change());
    expect(queryFn).not.toHaveBeenCalled();
    observer.setOptions({ queryKey: ["tasks"], queryFn, enabled: true });
    expect(queryFn).toHaveBeenCalledTimes(1);
  });

  it("leaves alone what is static", () => {
    const { queryFn } = source();
    queryClient.setQueryData(["tasks"], "old");
    mount({ queryKey: ["tasks"], queryFn, staleTime: "static" });
    sync();
    client.tell(change());
    expect(queryFn).not.toHaveBeenCalled();
  });

  it("restarts a first fetch, and its answer from before does not come back", async () => {
    const { queryFn, answer } = source();
    const { observer } = mount({ queryKey: ["tasks"], queryFn });
    sync();
    client.tell(change());
    expect(queryFn).toHaveBeenCalledTimes(2);
    await answer(0, "before");
    expect(observer.getCurrentResult()).toMatchObject({ data: undefined, fetchStatus: "fetching", status: "pending" });
    await answer(1, "after");
    expect(observer.getCurrentResult()).toMatchObject({ data: "after", fetchStatus: "idle", isStale: false });
  });

  it("whoever awaits a first fetch gets the answer of the new one", async () => {
    const { queryFn, answer } = source();
    const fetched = queryClient.fetchQuery({ queryKey: ["tasks"], queryFn });
    const ensured = queryClient.ensureQueryData({ queryKey: ["tasks"], queryFn });
    const seen = new QueryObserver(queryClient, { queryKey: ["tasks"], queryFn }).fetchOptimistic({
      queryKey: ["tasks"],
      queryFn,
    });
    sync();
    client.tell(change());
    await answer(0, "before");
    await answer(1, "after");
    expect(await Promise.all([fetched, ensured])).toEqual(["after", "after"]);
    expect(await seen).toMatchObject({ data: "after" });
  });

  it("restarts a later fetch", async () => {
    const { queryFn, answer } = source();
    queryClient.setQueryData(["tasks"], "old");
    const { observer } = mount({ queryKey: ["tasks"], queryFn });
    const refetched = observer.refetch();
    sync();
    client.tell(change());
    await answer(0, "before");
    expect(observer.getCurrentResult().data).toBe("old");
    await answer(1, "after");
    expect((await refetched).data).toBe("after");
  });

  it.each(["active", "none"] as const)(
    "restarts the fetch of a query that is not mounted (%s)",
    async (refetchType) => {
      const { queryFn, answer } = source();
      queryClient.setQueryData(["tasks"], "old");
      const fetched = queryClient.fetchQuery({ queryKey: ["tasks"], queryFn, staleTime: 0 });
      sync({ refetchType });
      client.tell(change());
      await answer(0, "before");
      expect(invalidated(["tasks"])).toBe(true);
      await answer(1, "after");
      expect(await fetched).toBe("after");
      expect(invalidated(["tasks"])).toBe(false);
    },
  );

  it("restarts the fetch of a disabled query", async () => {
    const { queryFn, answer } = source();
    const { observer } = mount({ queryKey: ["tasks"], queryFn, enabled: false });
    const refetched = observer.refetch();
    sync();
    client.tell(change());
    await answer(0, "before");
    await answer(1, "after");
    expect((await refetched).data).toBe("after");
  });

  it("a restarted fetch that is given up leaves the query marked", async () => {
    queryClient.setQueryData(["tasks"], "old");
    const queryFn = vi.fn(
      ({ signal }: { signal: AbortSignal }) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason));
        }),
    );
    const { observer, unmount } = mount({ queryKey: ["tasks"], queryFn });
    void observer.refetch();
    sync();
    client.tell(change());
    expect(queryFn).toHaveBeenCalledTimes(2);
    unmount();
    await vi.advanceTimersByTimeAsync(0);
    expect(queryClient.getQueryState(["tasks"])).toMatchObject({ fetchStatus: "idle", isInvalidated: true });
  });

  it("also after stop", () => {
    queryClient.setQueryData(["tasks"], "old");
    const never = ({ signal }: { signal: AbortSignal }) => new Promise(() => signal.throwIfAborted());
    const { observer, unmount } = mount({ queryKey: ["tasks"], queryFn: never });
    void observer.refetch();
    const stop = sync();
    client.tell(change());
    stop();
    unmount();
    expect(queryClient.getQueryState(["tasks"])).toMatchObject({ fetchStatus: "idle", isInvalidated: true });
  });

  it("restarts between two attempts", async () => {
    const { queryFn, answer, fail } = source();
    const { observer } = mount({ queryKey: ["tasks"], queryFn, retry: 3, retryDelay: 5000 });
    await fail(0);
    sync();
    client.tell(change());
    expect(queryFn).toHaveBeenCalledTimes(2);
    await answer(1, "after");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(queryFn).toHaveBeenCalledTimes(2);
    expect(observer.getCurrentResult()).toMatchObject({ data: "after", failureCount: 0 });
  });

  it("a fetch that waits for the network fetches once when it is there", async () => {
    const { queryFn, answer } = source();
    queryClient.mount();
    onlineManager.setOnline(false);
    const { observer } = mount({ queryKey: ["tasks"], queryFn });
    sync();
    client.tell(change());
    await vi.advanceTimersByTimeAsync(0);
    expect(observer.getCurrentResult().fetchStatus).toBe("paused");
    onlineManager.setOnline(true);
    await vi.advanceTimersByTimeAsync(0);
    expect(queryFn).toHaveBeenCalledTimes(1);
    expect(observer.getCurrentResult().fetchStatus).toBe("fetching");
    await answer(0, "after");
    expect(observer.getCurrentResult()).toMatchObject({ data: "after", fetchStatus: "idle" });
    queryClient.unmount();
  });

  it("changes without end do not keep a slow fetch from ever ending", async () => {
    const seen = new Set<unknown>();
    let fetches = 0;
    const queryFn = () => {
      const now = ++fetches;
      return new Promise((resolve) => setTimeout(() => resolve(now), 350));
    };
    const { observer } = mount({ queryKey: ["tasks"], queryFn });
    sync();
    for (let time = 0; time < 5000; time += 50) {
      client.tell(change({ ids: null }));
      await vi.advanceTimersByTimeAsync(50);
      seen.add(observer.getCurrentResult().data);
    }
    expect(seen.size).toBeGreaterThan(4);
    const last = fetches;
    await vi.advanceTimersByTimeAsync(2000);
    expect(observer.getCurrentResult()).toMatchObject({ data: fetches, fetchStatus: "idle", isStale: false });
    expect(fetches).toBeGreaterThanOrEqual(last);
  });

  it("a fetch that may not be restarted any more is followed by another", async () => {
    const { queryFn, answer } = source();
    const { observer } = mount({ queryKey: ["tasks"], queryFn });
    sync({ coalesceMs: 1 });
    for (let times = 0; times < 6; times++) {
      client.tell(change());
      await vi.advanceTimersByTimeAsync(5);
    }
    expect(queryFn).toHaveBeenCalledTimes(4);
    expect(invalidated(["tasks"])).toBe(true);
    queryClient.setQueryData(["tasks"], "by hand"); // this alone starts nothing
    expect(queryFn).toHaveBeenCalledTimes(4);
    await answer(3, "before the last changes");
    expect(observer.getCurrentResult().data).toBe("before the last changes");
    expect(queryFn).toHaveBeenCalledTimes(5);
    expect(invalidated(["tasks"])).toBe(true);
    // The next one may be restarted again.
    client.tell(change());
    expect(queryFn).toHaveBeenCalledTimes(6);
    await answer(4, "before");
    await answer(5, "after");
    expect(observer.getCurrentResult().data).toBe("after");
    expect(queryFn).toHaveBeenCalledTimes(6);
  });

  it("a fetch that is to be followed by another is followed after an error too", async () => {
    const { queryFn, answer, fail } = source();
    const { observer } = mount({ queryKey: ["tasks"], queryFn });
    sync({ coalesceMs: 1 });
    for (let times = 0; times < 6; times++) {
      client.tell(change());
      await vi.advanceTimersByTimeAsync(5);
    }
    await fail(3);
    expect(queryFn).toHaveBeenCalledTimes(5);
    client.tell(change());
    expect(queryFn).toHaveBeenCalledTimes(6);
    await answer(5, "after");
    expect(observer.getCurrentResult().data).toBe("after");
  });

  it("a removed query is not fetched again", async () => {
    const { queryFn } = source();
    queryClient.fetchQuery({ queryKey: ["tasks"], queryFn }).catch(() => {});
    const stop = sync({ coalesceMs: 1 });
    for (let times = 0; times < 6; times++) {
      client.tell(change());
      await vi.advanceTimersByTimeAsync(5);
    }
    expect(queryFn).toHaveBeenCalledTimes(4);
    queryClient.removeQueries();
    stop();
    expect(queryFn).toHaveBeenCalledTimes(4);
  });

  it("what waits for the end of a fetch keeps the wider refetchType", async () => {
    const { queryFn, answer } = source();
    queryClient.fetchQuery({ queryKey: ["tasks"], queryFn }).catch(() => {});
    sync({ coalesceMs: 1, keys: () => [["tasks"]], refetchType: { task: "all", note: "none" } });
    for (const resource of ["task", "task", "task", "task", "note"]) {
      client.tell(change({ resource }));
      await vi.advanceTimersByTimeAsync(5);
    }
    expect(queryFn).toHaveBeenCalledTimes(4);
    await answer(3, "before");
    expect(queryFn).toHaveBeenCalledTimes(5);
  });

  it("stop restarts such a fetch at once", async () => {
    const { queryFn, answer } = source();
    const { observer } = mount({ queryKey: ["tasks"], queryFn });
    const stop = sync({ coalesceMs: 1 });
    for (let times = 0; times < 4; times++) {
      client.tell(change());
      await vi.advanceTimersByTimeAsync(5);
    }
    expect(queryFn).toHaveBeenCalledTimes(4);
    stop();
    expect(queryFn).toHaveBeenCalledTimes(5);
    await answer(3, "before");
    await answer(4, "after");
    expect(observer.getCurrentResult().data).toBe("after");
  });

  it("a fetch that nothing can restart is marked when it ends", async () => {
    const { queryFn, answer } = source();
    const fetched = queryClient.fetchQuery({ queryKey: ["tasks"], queryFn });
    mount({ queryKey: ["tasks"], queryFn: skipToken });
    sync();
    client.tell(change());
    await answer(0, "before");
    expect(await fetched).toBe("before");
    expect(invalidated(["tasks"])).toBe(true);
  });

  it("nor does stop try to", async () => {
    const { queryFn, answer } = source();
    queryClient.fetchQuery({ queryKey: ["tasks"], queryFn }).catch(() => {});
    mount({ queryKey: ["tasks"], queryFn: skipToken });
    const stop = sync();
    client.tell(change());
    stop();
    await answer(0, "before");
    expect(queryClient.getQueryState(["tasks"])).toMatchObject({ status: "success", data: "before" });
  });

  it("refetches all pages of an infinite query, and lets one that is being loaded come", async () => {
    const pages: number[] = [];
    const answers: (() => void)[] = [];
    const queryFn = ({ pageParam }: { pageParam: number }) => {
      pages.push(pageParam);
      return new Promise<number>((resolve) => answers.push(() => resolve(pageParam)));
    };
    const observer = new InfiniteQueryObserver(queryClient, {
      queryKey: ["tasks"],
      queryFn,
      initialPageParam: 1,
      getNextPageParam: (last: number) => last + 1,
    });
    stops.push(observer.subscribe(() => {}));
    const next = async () => {
      answers.shift()?.();
      await vi.advanceTimersByTimeAsync(0);
    };
    await next();
    const more = observer.fetchNextPage();
    sync();
    client.tell(change());
    expect(pages).toEqual([1, 2]);
    expect(invalidated(["tasks"])).toBe(true);
    await next();
    expect((await more).data?.pages).toEqual([1, 2]);
    await next();
    await next();
    expect(pages).toEqual([1, 2, 1, 2]);
    expect(invalidated(["tasks"])).toBe(false);
    // A refetch of all pages in flight is started again.
    void observer.refetch();
    await vi.advanceTimersByTimeAsync(200);
    client.tell(change());
    expect(pages).toEqual([1, 2, 1, 2, 1, 1]);
  });

  it("data that is set by hand does not take the mark away, a fetch does", async () => {
    queryClient.setQueryData(["tasks"], "old");
    sync();
    client.tell(change());
    queryClient.setQueryData(["tasks"], (data: unknown) => `${data} and more`);
    expect(invalidated(["tasks"])).toBe(true);
    await queryClient.fetchQuery({ queryKey: ["tasks"], queryFn: async () => "new" });
    expect(invalidated(["tasks"])).toBe(false);
    queryClient.setQueryData(["tasks"], "newer");
    expect(invalidated(["tasks"])).toBe(false);
  });

  it("data that is set during a restarted fetch is replaced by what the fetch brings", async () => {
    const { queryFn, answer } = source();
    const { observer } = mount({ queryKey: ["tasks"], queryFn });
    sync();
    client.tell(change());
    queryClient.setQueryData(["tasks"], "by hand");
    await answer(1, "after");
    expect(observer.getCurrentResult().data).toBe("after");
  });
});

describe("with the oldest TanStack Query 5", () => {
  it("restarts a first fetch, marks and refetches", async () => {
    const old = new OldestQueryClient({
      defaultOptions: { queries: { staleTime: Number.POSITIVE_INFINITY, retry: false } },
    });
    const { queryFn, answer } = source();
    sync({ queryClient: old as QueryClientLike });
    const fetched = old.fetchQuery({ queryKey: ["tasks"], queryFn }).catch(() => "rejected");
    client.tell(change());
    expect(queryFn).toHaveBeenCalledTimes(2);
    await answer(0, "before");
    expect(old.getQueryData(["tasks"])).toBe(undefined);
    await answer(1, "after");
    expect(old.getQueryData(["tasks"])).toBe("after");
    expect(await fetched).toBe("rejected"); // it knows no taking over
    await vi.advanceTimersByTimeAsync(200);
    client.tell(change());
    expect(old.getQueryState(["tasks"])?.isInvalidated).toBe(true);
    old.setQueryData(["task"], "set");
    const unmount = new OldestQueryObserver(old, { queryKey: ["task"], queryFn }).subscribe(() => {});
    await vi.advanceTimersByTimeAsync(200);
    client.tell(change());
    expect(queryFn).toHaveBeenCalledTimes(3);
    unmount();
    old.clear();
  });
});

/** Keys that keep what they are asked about. */
function keep(rounds: ChangeEvent[]) {
  return (event: ChangeEvent) => {
    rounds.push(event);
    return [];
  };
}

describe("bursts", () => {
  it("a thousand events are two rounds, and all their ids count", async () => {
    const rounds: ChangeEvent[] = [];
    sync({ keys: keep(rounds) });
    for (let id = 0; id < 400; id++) client.tell(change({ ids: [String(id)] }));
    await vi.advanceTimersByTimeAsync(1000);
    expect(rounds.map(({ ids }) => ids?.length)).toEqual([1, 399]);
    for (let id = 0; id < 1000; id++) client.tell(change({ ids: [String(id)] }));
    await vi.advanceTimersByTimeAsync(1000);
    expect(rounds.slice(2).map(({ ids }) => ids?.length ?? null)).toEqual([1, null]);
  });

  it("all resources share the room for rows, and give it back", async () => {
    const rounds: ChangeEvent[] = [];
    sync({ keys: keep(rounds) });
    const ids = (from: number, to: number) => Array.from({ length: to - from }, (_, place) => String(from + place));
    const told = async () => {
      await vi.advanceTimersByTimeAsync(100);
      return rounds.splice(0).map(({ resource, ids }) => [resource, ids?.length ?? null]);
    };
    client.tell(change());
    client.tell(change({ resource: "a", ids: ids(0, 300) }));
    client.tell(change({ resource: "b", ids: ids(0, 300) }));
    client.tell(change({ resource: "c", ids: ids(0, 150) }));
    client.tell(change({ resource: "c", ids: ids(100, 200) }));
    expect(await told()).toEqual([
      ["task", 1],
      ["a", 300],
      ["b", null],
      ["c", 200],
    ]);
    client.tell(change({ resource: "a", ids: ids(0, 300) }));
    client.tell(change({ resource: "a", ids: null }));
    client.tell(change({ resource: "b", ids: ids(0, 500) }));
    expect(await told()).toEqual([
      ["a", null],
      ["b", 500],
    ]);
    client.tell(change({ ids: ids(0, 5000) }));
    expect(await told()).toEqual([["task", null]]);
  });

  it("null wins, before and after", async () => {
    const rounds: ChangeEvent[] = [];
    sync({ keys: keep(rounds) });
    for (const ids of [["1"], ["2"], null, ["3"]]) client.tell(change({ ids }));
    await vi.advanceTimersByTimeAsync(100);
    expect(rounds.map(({ ids }) => ids)).toEqual([["1"], null]);
  });

  it("actions, resources and projects stay apart, and both values of a row", async () => {
    const rounds: ChangeEvent[] = [];
    sync({ keys: keep(rounds) });
    client.tell(change());
    client.tell(change({ projectId: "8" }));
    client.tell(change({ resource: "note" }));
    client.tell(change({ action: "DELETE" }));
    client.tell(change({ rows: [{ sprint: 1 }] }));
    client.tell(change({ rows: [{ sprint: 2 }] }));
    client.tell(change({ rows: [{ sprint: 2 }] }));
    await vi.advanceTimersByTimeAsync(100);
    expect(rounds).toEqual([
      change(),
      change({ projectId: "8" }),
      change({ resource: "note" }),
      change({ action: "DELETE" }),
      change({ ids: ["1", "1"], rows: [{ sprint: 1 }, { sprint: 2 }] }),
    ]);
  });

  it("very many resources are the whole project", async () => {
    queryClient.setQueryData(["anything"], "data");
    sync({ keys: () => [] });
    for (let times = 0; times < 32; times++) client.tell(change({ resource: `resource_${times}` }));
    expect(invalidated(["anything"])).toBe(false);
    await vi.advanceTimersByTimeAsync(100);
    expect(invalidated(["anything"])).toBe(true);
  });

  it("what arrives during a round is in the next", async () => {
    const rounds: unknown[] = [];
    sync({
      keys: ({ ids }) => {
        rounds.push(ids);
        if (rounds.length < 3) client.tell(change({ ids: [`${rounds.length + 1}`] }));
        return [];
      },
    });
    client.tell(change());
    expect(rounds).toEqual([["1"]]);
    await vi.advanceTimersByTimeAsync(100);
    expect(rounds).toEqual([["1"], ["2"]]);
    await vi.advanceTimersByTimeAsync(100);
    expect(rounds).toEqual([["1"], ["2"], ["3"]]);
    await vi.advanceTimersByTimeAsync(100);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("the span can be chosen", async () => {
    const rounds: ChangeEvent[] = [];
    sync({ coalesceMs: 1000, keys: keep(rounds) });
    client.tell(change());
    client.tell(change());
    await vi.advanceTimersByTimeAsync(999);
    expect(rounds.length).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(rounds.length).toBe(2);
  });
});

describe("the rest of the events", () => {
  it("refetch concerns all but what is surely of another project", () => {
    client.tellProject("7", "live");
    client.tellProject("8", "live");
    const keys = [["tasks"], ["me"], ["projects", "7"], ["tasks", "list", "9"]];
    const others = [
      ["projects", "8"],
      ["tasks", "list", { projectId: "8" }],
    ];
    const event = { type: "refetch", projectId: "7", reason: "history_gap" } as const;
    expect(staleOf([...keys, ...others], event as never)).toEqual(keys);
  });

  it("refetch in a burst is not lost among changes", async () => {
    queryClient.setQueryData(["me"], "data");
    sync();
    client.tell(change());
    client.tell({ type: "refetch", projectId: "7", reason: "slow_consumer" });
    client.tell(change());
    expect(invalidated(["me"])).toBe(false);
    await vi.advanceTimersByTimeAsync(100);
    expect(invalidated(["me"])).toBe(true);
    // And the next round is as narrow as ever.
    await queryClient.fetchQuery({ queryKey: ["me"], queryFn: async () => "new" });
    client.tell(change());
    await vi.advanceTimersByTimeAsync(100);
    expect(invalidated(["me"])).toBe(false);
  });

  const revocations = [
    { type: "revoked", projectId: "7", reason: "not_a_member" },
    { type: "refused", projectId: "7", code: "forbidden", message: "not a member" },
  ] as const;

  it.each(revocations)("$type: what is surely of the project goes, the rest asks again", async (event) => {
    const { queryFn, fail } = source();
    client.tellProject("8", "live");
    for (const key of [["tasks", "list", "7"], ["project", 7], ["projects"], ["tasks", "list", "8"]]) {
      queryClient.setQueryData(key, "secret");
    }
    const { observer } = mount({ queryKey: ["tasks", "list", "7"], queryFn });
    const off = mount({ queryKey: ["projects", 7, "budget"], queryFn, enabled: false, initialData: undefined });
    queryClient.setQueryData(["projects", 7, "budget"], "secret");
    sync();
    client.tell(event);
    expect(observer.getCurrentResult()).toMatchObject({ data: undefined, fetchStatus: "fetching" });
    expect(off.observer.getCurrentResult()).toMatchObject({ data: undefined, fetchStatus: "idle" });
    await fail(0);
    expect(observer.getCurrentResult()).toMatchObject({ data: undefined, status: "error" });
    expect(queryClient.getQueryState(["project", 7])).toBe(undefined);
    expect(invalidated(["projects"])).toBe(true);
    expect(invalidated(["tasks", "list", "8"])).toBe(false);
  });

  it("revoked: whoever awaits a fetch gets the API's answer", async () => {
    const { queryFn, answer } = source();
    const fetched = queryClient.fetchQuery({ queryKey: ["project", 7], queryFn });
    sync();
    client.tell(revocations[0]);
    await answer(0, "secret");
    await answer(1, "public");
    expect(await fetched).toBe("public");
  });

  it("revoked: a fetch that nothing can start again ends without data", async () => {
    const { queryFn, answer } = source();
    const fetched = queryClient.fetchQuery({ queryKey: ["project", 7], queryFn }).catch(() => "rejected");
    mount({ queryKey: ["project", 7], queryFn: skipToken });
    sync();
    client.tell(revocations[0]);
    await answer(0, "secret");
    expect(await fetched).toBe("rejected");
    expect(queryClient.getQueryState(["project", 7])).toMatchObject({ data: undefined, status: "pending" });
  });

  it("revoked: `belongs` says what is of the project", () => {
    queryClient.setQueryData(["board", 1], "secret");
    queryClient.setQueryData(["board", 2], "data");
    sync({ belongs: ([, board]) => board === 1 });
    client.tell(revocations[0]);
    expect(queryClient.getQueryState(["board", 1])).toBe(undefined);
    expect(invalidated(["board", 2])).toBe(false);
  });

  it("onRevoked: refetch keeps the data until the answer, a function does it itself, and one that throws is the default", () => {
    const set = () => queryClient.setQueryData(["project", 7], "data");
    set();
    let stop = sync({ onRevoked: "refetch" });
    client.tell(revocations[0]);
    expect(queryClient.getQueryState(["project", 7])).toMatchObject({ data: "data", isInvalidated: true });
    stop();
    queryClient.clear();
    set();
    const onRevoked = vi.fn();
    stop = sync({ onRevoked });
    client.tell(revocations[0]);
    expect(onRevoked).toHaveBeenCalledExactlyOnceWith(revocations[0]);
    expect(invalidated(["project", 7])).toBe(false);
    stop();
    const onError = vi.fn();
    sync({
      onRevoked: () => {
        throw new Error("mine");
      },
      onError,
    });
    client.tell(revocations[0]);
    expect(onError).toHaveBeenCalledTimes(1);
    expect(queryClient.getQueryState(["project", 7])).toBe(undefined);
  });

  it("another refusal is told to the developer", () => {
    const onError = vi.fn();
    queryClient.setQueryData(["project", 7], "data");
    sync({ onError });
    client.tell({ type: "refused", projectId: "7", code: "bad_topic", message: "no such topic" });
    expect(String(onError.mock.calls[0]?.[0])).toContain("no such topic");
    expect(invalidated(["project", 7])).toBe(false);
  });

  it("own writes as documented: no answer from before the write stays", async () => {
    sync();
    const { queryFn, answer } = source();
    const { observer } = mount({ queryKey: ["tasks"], queryFn: ({ signal }) => queryFn(signal) });
    client.tell(change({ origin: client.origin }));
    await queryClient.cancelQueries({ queryKey: ["tasks"] });
    void queryClient.invalidateQueries({ queryKey: ["tasks"] });
    await answer(0, "from before");
    await answer(1, "from after");
    expect(observer.getCurrentResult().data).toBe("from after");
  });

  it("skips the echo of its own writes, unless it is told not to", () => {
    expect(staleOf([["tasks"]], change({ origin: "this-tab" }))).toEqual([]);
    expect(staleOf([["tasks"]], change({ origin: "another" }))).toEqual([["tasks"]]);
    queryClient.clear();
    expect(staleOf([["tasks"]], change({ origin: "this-tab" }), { skipOwn: false })).toEqual([["tasks"]]);
  });
});

describe("subscriptions", () => {
  it("subscribes to its projects, each once", () => {
    queryClient.setQueryData(["tasks"], "data");
    const stop = sync({ projects: ["7", "8", "7"] });
    expect([...client.subscriptions].map(({ projectId }) => projectId)).toEqual(["7", "8"]);
    client.tell(change({ projectId: "9" }));
    expect(invalidated(["tasks"])).toBe(false);
    client.tell(change());
    expect(invalidated(["tasks"])).toBe(true);
    stop();
    expect(client.listeners).toBe(0);
  });

  it("without projects it subscribes to none", () => {
    const stop = sync();
    expect(client.subscriptions.size).toBe(0);
    expect(client.listeners).toBe(1);
    stop();
    stop();
    expect(client.listeners).toBe(0);
  });

  it("an event that is on its way while it is stopped starts nothing", () => {
    queryClient.setQueryData(["tasks"], "data");
    const timers = vi.getTimerCount();
    const off = client.onEvent(() => stop());
    const stop = sync();
    client.tell(change());
    off();
    expect(vi.getTimerCount()).toBe(timers);
  });

  it("stop does what was heard, and leaves nothing", () => {
    queryClient.setQueryData(["tasks"], "data");
    queryClient.setQueryData(["notes"], "data");
    const cache = queryClient.getQueryCache();
    const timers = vi.getTimerCount();
    const stop = sync();
    client.tell(change());
    client.tell(change({ resource: "note" }));
    expect(invalidated(["notes"])).toBe(false);
    expect(vi.getTimerCount()).toBe(timers + 1);
    expect(cache.hasListeners()).toBe(true);
    stop();
    expect(invalidated(["notes"])).toBe(true);
    expect(vi.getTimerCount()).toBe(timers);
    expect(cache.hasListeners()).toBe(false);
    expect(client.listeners).toBe(0);
  });
});
