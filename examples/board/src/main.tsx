import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { createClient } from "pgherald";
import { HeraldProvider } from "pgherald/react";
import { syncQueryClient } from "pgherald/tanstack-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import type { Account } from "./account.ts";
import { ApiError } from "./api.ts";
import { App } from "./app.tsx";
import "./board.css";

const root = document.getElementById("root");
if (root) start(root).catch((error: unknown) => root.append(`The board could not start: ${String(error)}`));

async function start(root: HTMLElement) {
  const config = (await (await fetch("/api/config")).json()) as { url: string };
  let account: Account | null = null;
  const client = createClient({
    url: config.url,
    async getToken({ reason }) {
      try {
        return (await account?.token(reason !== "connect")) ?? null;
      } catch (error) {
        // This user is gone: nobody is logged in. Anything else passes.
        if (error instanceof ApiError && error.status === 401) return null;
        throw error;
      }
    },
  });
  const queryClient = new QueryClient({
    defaultOptions: {
      queries: {
        // What is cached is good until the daemon says otherwise: no polling, nothing when the window is looked at.
        staleTime: Number.POSITIVE_INFINITY,
        refetchOnWindowFocus: false,
        refetchOnReconnect: false,
        retry: (failures, error) => failures < 3 && !(error instanceof ApiError && error.status < 500),
      },
    },
  });
  syncQueryClient({ client, queryClient });
  const enter = (next: Account | null) => {
    account = next;
    queryClient.clear();
    if (next) client.reconnect();
    else client.close();
  };
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queryClient}>
        <HeraldProvider client={client}>
          <App client={client} enter={enter} />
        </HeraldProvider>
      </QueryClientProvider>
    </StrictMode>,
  );
}
