import type { Stack } from "./stack.js";

/** Rejects with the first failure of a part, or with the signal's reason; never resolves. */
export function untilEnd(stack: Stack, signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    stack.onFailure(reject);
    if (signal.aborted) reject(signal.reason as Error);
    else signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}
