import type { Client } from "pgherald";
import { useEffect, useState } from "react";

/** How long a card is marked. */
const FLASH_MS = 2_000;

/** The cards that somebody else has just changed. */
export function useFlashes(client: Client, project: string): ReadonlySet<string> {
  const [flashes, setFlashes] = useState<ReadonlySet<string>>(new Set());
  useEffect(() => {
    const timers = new Map<string, ReturnType<typeof setTimeout>>();
    const change = (ids: readonly string[], how: "add" | "delete") =>
      setFlashes((before) => {
        const after = new Set(before);
        for (const id of ids) after[how](id);
        return after;
      });
    const stop = client.onEvent((event) => {
      if (event.type !== "change" || event.projectId !== project || event.resource !== "task") return;
      if (event.origin === client.origin || !event.ids) return;
      change(event.ids, "add");
      for (const id of event.ids) {
        clearTimeout(timers.get(id));
        timers.set(
          id,
          setTimeout(() => change([id], "delete"), FLASH_MS),
        );
      }
    });
    return () => {
      stop();
      for (const timer of timers.values()) clearTimeout(timer);
    };
  }, [client, project]);
  return flashes;
}
