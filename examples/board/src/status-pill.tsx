import type { Client, Status } from "pgherald";
import { useHeraldStatus } from "pgherald/react";

const LABELS: Record<Status["state"], string> = {
  connecting: "Connecting",
  live: "Live",
  stale: "May be out of date",
  closed: "Disconnected",
};

/** Whether what the page shows is kept up to date, and why not. */
export function StatusPill({ client }: { readonly client: Client }) {
  const status = useHeraldStatus();
  return (
    <div className="status">
      <p className="pill" role="status" data-testid="status" data-state={status.state} title={status.reason}>
        <span className="dot" aria-hidden="true" />
        {LABELS[status.state]}
        {status.state !== "live" && (
          <span className="reason" data-testid="status-reason">
            {status.reason}
          </span>
        )}
      </p>
      {status.state === "closed" && (
        <button type="button" className="plain" data-testid="reconnect" onClick={() => client.reconnect()}>
          Reconnect
        </button>
      )}
    </div>
  );
}

/** Nothing on the board is dimmed while it may be out of date; a thin bar says so. */
export function StaleBar() {
  const { state } = useHeraldStatus();
  return <div className="stale-bar" data-testid="stale-bar" hidden={state !== "stale"} />;
}
