// When to try again, and whether at all.

/** The window, in ms, over which clients that were sent away together come back. */
const SPREAD = 5_000;

/** Whether a connection that ended with this close code is opened again. */
export const isTemporary = (code: number): boolean =>
  code === 1001 || code === 1005 || code === 1006 || (code >= 1011 && code <= 1014);

/**
 * How long to wait, in ms, before the next attempt: drawn from the whole of a window that doubles with each failure (full jitter),
 * so that clients of one dead server do not come back in step. 1012 (restart) and 1013 (try again later) are told to all clients at
 * once, so they come back over 5 s at least, whatever `maxDelay` says.
 */
export function delay(code: number, failures: number, minDelay: number, maxDelay: number, random: () => number): number {
  // 2 ** 1024 is Infinity, and 0 * Infinity is no number.
  const window = Math.min(maxDelay, minDelay * 2 ** Math.min(failures, 99));
  return random() * (code === 1012 || code === 1013 ? Math.max(SPREAD, window) : window);
}
