/**
 * Runs `work` with a signal that aborts after `limitMs` or with `outer`. Not AbortSignal.any: on Node 20 each use
 * leaves an entry at a long-lived source signal, and a daemon makes several per window.
 */
export async function withDeadline<T>(
  of: { readonly limitMs: number; readonly outer?: AbortSignal },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new DeadlineError(of.limitMs)), of.limitMs);
  const follow = (): void => controller.abort(of.outer?.reason);
  if (of.outer?.aborted) follow();
  of.outer?.addEventListener("abort", follow, { once: true });
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    of.outer?.removeEventListener("abort", follow);
  }
}

export class DeadlineError extends Error {
  override readonly name = "DeadlineError";
  constructor(limitMs: number) {
    super(`it took longer than ${limitMs} ms`);
  }
}
