import { ApiError } from "./api.ts";

/** Who is logged in, with a token that is good now. */
export interface Account {
  readonly user: string;
  /** The token in use; a new one where that expires soon or `fresh` is asked for. */
  token(fresh?: boolean): Promise<string>;
}

/** Tokens with less than this left are replaced. */
const LEFT_MIN_MS = 5_000;

/** An account of the demo, which knows no passwords. */
export function createAccount(user: string): Account {
  let token: { text: string; expiresAt: number } | undefined;
  let asking: Promise<string> | undefined;

  const ask = async () => {
    const response = await fetch("/api/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user }),
    });
    if (!response.ok) throw new ApiError(response.status, `${user} cannot log in: HTTP status ${response.status}`);
    const answer = (await response.json()) as { token: string; expires_in: number };
    token = { text: answer.token, expiresAt: Date.now() + answer.expires_in * 1000 };
    return token.text;
  };

  return {
    user,
    async token(fresh = false) {
      if (!fresh && token && token.expiresAt - Date.now() > LEFT_MIN_MS) return token.text;
      asking ??= ask().finally(() => {
        asking = undefined;
      });
      return asking;
    },
  };
}
