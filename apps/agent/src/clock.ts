/** Time as the agent's loops see it: given to them, so that a test can run their deadlines without waiting. */
export interface Clock {
  /** Epoch milliseconds. May jump when the machine's clock is set. */
  nowMs(): number;
  /** Milliseconds that only grow; for durations and deadlines. */
  monotonicMs(): number;
  /** Resolves after `durationMs`, or as soon as the signal aborts. */
  sleep(durationMs: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (durationMs, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const done = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, durationMs);
      signal?.addEventListener("abort", done, { once: true });
    }),
};
