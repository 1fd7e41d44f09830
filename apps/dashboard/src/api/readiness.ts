/** Whether the controller can do its work. The stream of events stays open while the database is away, so it is asked. */

/** One query of a constant each time, for each open page. */
const EVERY_MS = 5_000;
const AWAY_EVERY_MS = 2_000;
const TIMEOUT_MS = 5_000;

/** Tells when the database goes and when it is back, until `signal` ends it. A controller that cannot be reached tells neither. */
export async function watchDatabase(tell: (away: boolean) => void, signal: AbortSignal): Promise<void> {
  let away = false;
  while (!signal.aborted) {
    const now = await isAway(signal);
    if (signal.aborted) return;
    if (now !== null && now !== away) {
      away = now;
      tell(away);
    }
    await pause(away ? AWAY_EVERY_MS : EVERY_MS, signal);
  }
}

async function isAway(signal: AbortSignal): Promise<boolean | null> {
  // A page that nobody looks at asks nothing.
  if (document.hidden) return null;
  try {
    const response = await fetch("/readyz", {
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    await response.body?.cancel();
    return response.status === 503;
  } catch {
    return null;
  }
}

/** Ends early when `signal` does. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
}
