/** Sets of listeners. */

export type Listeners<T> = Set<{ readonly listener: (value: T) => void }>;

/** Adds one; returns how to take it out. */
export function listen<T>(listeners: Listeners<T>, listener: (value: T) => void): () => void {
  const entry = { listener };
  listeners.add(entry);
  return () => {
    // It may be about to be called.
    entry.listener = () => {};
    listeners.delete(entry);
  };
}

/** Calls all of them. One that fails harms nobody else. */
export function call<T>(listeners: Iterable<{ readonly listener: (value: T) => void }>, value: T): void {
  for (const { listener } of [...listeners]) {
    try {
      listener(value);
    } catch (error) {
      console.error("pgherald: a listener has failed", error);
    }
  }
}
