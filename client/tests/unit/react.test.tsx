// @vitest-environment jsdom
import { QueryClient, QueryClientProvider, useSuspenseQuery } from "@tanstack/react-query";
import { act, type ReactNode, StrictMode, Suspense } from "react";
import { createRoot, hydrateRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { HeraldEvent } from "../../src/events.js";
import {
  HeraldProvider,
  type UseProjectOptions,
  useHeraldClient,
  useHeraldStatus,
  useProject,
} from "../../src/react.js";
import type { Status } from "../../src/status.js";
import { syncQueryClient } from "../../src/tanstack-query.js";
import { FakeClient } from "./fake-client.js";

const EVENT: HeraldEvent = { type: "refetch", projectId: "7", reason: "subscribed" };

let client: FakeClient;
let root: Root;
let element: HTMLElement;

beforeEach(() => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  client = new FakeClient();
  element = document.createElement("div");
  root = createRoot(element);
});

afterEach(async () => {
  await act(() => root.unmount());
  expect(client.listeners).toBe(0);
  vi.unstubAllGlobals();
});

function inside(children: ReactNode, its = client) {
  return <HeraldProvider client={its}>{children}</HeraldProvider>;
}

async function render(children: ReactNode, its = client): Promise<void> {
  await act(() => root.render(inside(children, its)));
}

let renderings: string[] = [];
beforeEach(() => {
  renderings = [];
});

function Project({ id, ...options }: { id: string | null | undefined } & UseProjectOptions) {
  const state = useProject(id, options);
  renderings.push(state);
  return state;
}

function Sign() {
  const { state } = useHeraldStatus();
  renderings.push(state);
  return state;
}

describe("useProject", () => {
  it("subscribes while it is mounted", async () => {
    await render(<Project id="7" />);
    expect([...client.subscriptions].map(({ projectId, options }) => [projectId, options])).toEqual([["7", {}]]);
    await render(null);
    expect(client.listeners).toBe(0);
  });

  it("returns how it stands, pending from the first rendering on", async () => {
    await render(<Project id="7" />);
    expect(new Set(renderings)).toEqual(new Set(["pending"]));
    for (const state of ["live", "stale", "revoked", "refused"] as const) {
      await act(() => client.tellProject("7", state));
      expect(element.textContent).toBe(state);
    }
  });

  it("subscribes to nothing without an id", async () => {
    for (const id of [null, undefined]) {
      await render(<Project id={id} />);
      expect(client.subscriptions.size).toBe(0);
      expect(element.textContent).toBe("none");
    }
  });

  it("follows the id", async () => {
    await render(<Project id="7" />);
    await act(() => client.tellProject("7", "live"));
    await render(<Project id="8" />);
    expect([...client.subscriptions].map(({ projectId }) => projectId)).toEqual(["8"]);
    expect(element.textContent).toBe("pending");
    await render(<Project id={null} />);
    expect(client.subscriptions.size).toBe(0);
  });

  it("compares inline options by value", async () => {
    await render(<Project id="7" topics={["task:*"]} filter={{ a: 1, b: null }} />);
    await render(<Project id="7" topics={["task:*"]} filter={{ b: null, a: 1 }} />);
    expect(client.subscribed).toBe(1);
    expect([...client.subscriptions][0]?.options).toEqual({ topics: ["task:*"], filter: { a: 1, b: null } });
    await render(<Project id="7" topics={["task:*"]} filter={{ a: 2, b: null }} />);
    expect(client.subscribed).toBe(2);
    await render(<Project id="7" topics={["task:1"]} filter={{ a: 2, b: null }} />);
    expect(client.subscribed).toBe(3);
    expect(client.subscriptions.size).toBe(1);
  });

  it("each option alone", async () => {
    await render([<Project key="1" id="7" topics={["task:*"]} />, <Project key="2" id="7" filter={{ a: 1 }} />]);
    expect([...client.subscriptions].map(({ options }) => options)).toEqual([
      { topics: ["task:*"] },
      { filter: { a: 1 } },
    ]);
  });

  it("tells the last onEvent and subscribes but once for all of them", async () => {
    const first = vi.fn();
    const second = vi.fn();
    await render(<Project id="7" onEvent={first} />);
    client.tell(EVENT);
    await render(<Project id="7" onEvent={second} />);
    client.tell(EVENT);
    await render(<Project id="7" />);
    client.tell(EVENT);
    expect(first).toHaveBeenCalledExactlyOnceWith(EVENT);
    expect(second).toHaveBeenCalledExactlyOnceWith(EVENT);
    expect(client.subscribed).toBe(1);
  });

  it("two of one project end apart", async () => {
    await render([<Project key="1" id="7" />, <Project key="2" id="7" />]);
    expect(client.subscriptions.size).toBe(2);
    await render([<Project key="1" id="7" />]);
    expect(client.subscriptions.size).toBe(1);
    expect(client.project("7")).toBe("pending");
  });

  it("leaves nothing behind in StrictMode", async () => {
    const page = [<Project key="1" id="7" />, <Sign key="2" />];
    await act(() => root.render(<StrictMode>{inside(page)}</StrictMode>));
    expect(client.subscribed).toBe(2);
    expect(client.subscriptions.size).toBe(1);
    expect(client.listeners).toBe(3);
    await render(null);
    expect(client.listeners).toBe(0);
  });

  it("listens no anew on each rendering", async () => {
    const onStatus = vi.spyOn(client, "onStatus");
    await render([<Project key="1" id="7" />, <Sign key="2" />]);
    await render([<Project key="1" id="7" />, <Sign key="2" />]);
    expect(onStatus).toHaveBeenCalledTimes(2);
  });

  it("follows the client", async () => {
    const another = new FakeClient();
    await render([<Project key="1" id="7" />, <Sign key="2" />]);
    await render([<Project key="1" id="7" />, <Sign key="2" />], another);
    expect(client.listeners).toBe(0);
    expect(another.listeners).toBe(3);
    await render(null, another);
    expect(another.listeners).toBe(0);
  });
});

describe("with react-query", () => {
  it("a component that is suspended gets the answer of the restarted fetch", async () => {
    const answers: ((value: string) => void)[] = [];
    const queryFn = () => new Promise<string>((resolve) => answers.push(resolve));
    const queryClient = new QueryClient({ defaultOptions: { queries: { retry: false } } });
    const stop = syncQueryClient({ client, queryClient });
    await render(
      <QueryClientProvider client={queryClient}>
        <Suspense fallback="waiting">
          <Tasks queryFn={queryFn} />
        </Suspense>
      </QueryClientProvider>,
    );
    await act(() => client.tell({ ...EVENT, reason: "history_gap" }));
    expect(answers.length).toBe(2);
    await act(() => answers[0]?.("before"));
    expect(element.textContent).toBe("waiting");
    await act(() => answers[1]?.("after"));
    await vi.waitFor(() => expect(element.textContent).toBe("after"));
    expect(answers.length).toBe(2);
    stop();
    queryClient.clear();
  });
});

function Tasks({ queryFn }: { queryFn: () => Promise<string> }) {
  return useSuspenseQuery({ queryKey: ["tasks"], queryFn }).data;
}

describe("useHeraldStatus", () => {
  it("renders again when it changes", async () => {
    const live: Status = { state: "live", reason: "subscribed", transport: "websocket", subject: "alice" };
    await render(<Sign />);
    expect(element.textContent).toBe("connecting");
    await act(() => client.tellStatus(live));
    expect(element.textContent).toBe("live");
    const before = renderings.length;
    await act(() => client.tellStatus(live));
    expect(renderings.length).toBe(before);
  });
});

describe("on a server", () => {
  const page = [<Project key="1" id="7" />, <Project key="2" id={null} />, <Sign key="3" />];

  it("nothing is subscribed to, and the browser takes the page over", async () => {
    client.status = { state: "live", reason: "subscribed", transport: "websocket", subject: "alice" };
    client.tellProject("7", "live");
    const html = renderToString(inside(page));
    expect(html).toContain("pending");
    expect(html).toContain("none");
    expect(html).toContain("connecting");
    expect(client.subscribed).toBe(0);
    expect(client.listeners).toBe(0);

    element = document.createElement("div");
    element.innerHTML = html;
    const onRecoverableError = vi.fn();
    await act(() => {
      root = hydrateRoot(element, inside(page), { onRecoverableError });
    });
    expect(onRecoverableError).not.toHaveBeenCalled();
    expect(element.textContent).toContain("live");
    expect(element.textContent).not.toContain("connecting");
    expect(client.subscriptions.size).toBe(1);
  });
});

function Calls({ hook }: { hook: () => unknown }) {
  return String(hook());
}

describe("without a provider", () => {
  it.each([
    ["useProject", () => useProject("7")],
    ["useHeraldStatus", () => useHeraldStatus()],
    ["useHeraldClient", () => useHeraldClient()],
  ])("%s says what is missing", (_, hook) => {
    expect(() => renderToString(<Calls hook={hook} />)).toThrow("no <HeraldProvider client={client}>");
  });

  it("useHeraldClient gives the client of the nearest one", async () => {
    const another = new FakeClient();
    const seen: unknown[] = [];
    await render(inside(<Calls hook={() => seen.push(useHeraldClient())} />, another));
    expect(seen[0]).toBe(another);
  });
});
