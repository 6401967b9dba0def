/** Why a connection ended, and whether to come back: the table of close codes in docs/protocol.md. */

/** It broke, or never came to be. */
export const BROKEN = 1006;

/** The token was not accepted, or has expired. */
export const UNAUTHORIZED = 4401;

/** Trying again would end the same way. */
const NEVER = [1002, 1007, 4400, 4403, 4413];

/** Come back, but not at once. */
const LATER = [1013, 4429];

const WORDS: { [code: number]: string } = {
  1001: "the daemon restarts",
  1013: "the daemon is busy",
  4401: "the login has expired or was not accepted: log in again",
  4403: "this user may not be here",
  4429: "too many requests or sessions",
};

export const mayReturn = (code: number): boolean => !NEVER.includes(code);

/** For a person to read. */
export const wordsOf = (code: number, reason: string): string =>
  WORDS[code] ?? (reason || (code === BROKEN ? "the connection was lost" : `the daemon closed with ${code}`));

/**
 * How long to wait before the attempt after `failures` failed ones, in milliseconds: anything between nothing and a bound
 * that doubles from 1 s to 30 s, so that a thousand clients do not come back together.
 */
export const delayOf = (failures: number, code: number): number =>
  (LATER.includes(code) ? 5_000 : 0) + Math.random() * Math.min(30_000, 1_000 * 2 ** failures);
