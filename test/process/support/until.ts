import { setTimeout as pause } from "node:timers/promises";

const LIMIT_MS = 20_000;
const EVERY_MS = 40;

/**
 * Looks until there is something to return: neither false, null nor undefined. A look that throws has not
 * seen it yet. @throws Error naming `what` after `limitMs`.
 */
export async function until<T>(
  what: string,
  look: () => T | Promise<T>,
  limitMs: number = LIMIT_MS,
): Promise<Exclude<T, false | null | undefined>> {
  const endAtMs = Date.now() + limitMs;
  for (;;) {
    let last: unknown;
    try {
      const seen = await look();
      if (seen !== false && seen !== null && seen !== undefined)
        return seen as Exclude<T, false | null | undefined>;
      last = seen;
    } catch (error) {
      last = error;
    }
    if (Date.now() >= endAtMs)
      throw new Error(`not within ${limitMs} ms: ${what} (last: ${String(last)})`, { cause: last });
    await pause(EVERY_MS);
  }
}
