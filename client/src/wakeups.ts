/** The moments at which a browser's network may be back: it says so, or the page is looked at again. */

/** Calls back at each of them; elsewhere than in a browser, never. Returns how to stop. */
export function onWakeUp(callback: () => void): () => void {
  const page = globalThis.document;
  const visible = () => {
    if (!page || page.visibilityState === "visible") callback();
  };
  const places = [
    [globalThis, "online"],
    [globalThis, "offline"],
    [globalThis, "pageshow"],
    [page, "visibilitychange"],
  ] as const;
  for (const [target, name] of places) target?.addEventListener?.(name, visible);
  return () => {
    for (const [target, name] of places) target?.removeEventListener?.(name, visible);
  };
}
