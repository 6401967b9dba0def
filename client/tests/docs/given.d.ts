/** What the pages of docs/ take for granted. */

/** Who is logged in. */
declare const session: { token(): Promise<string | null> };

interface Task {
  readonly id: number;
  readonly name: string;
}

/** Fetches with the user's token. */
declare function fetchJson<T>(url: string, options?: { signal?: AbortSignal }): Promise<T>;
