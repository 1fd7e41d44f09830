/** A counter that appears in the window began at 0: Prometheus clients expose a series once it is used. */
export function difference(before: number | null, after: number | null): number | null {
  return after === null ? null : after - (before ?? 0);
}

/** Growth of a time, as a share (0..1) of the window; what was counted on another clock may pass 1 a little. */
export function share(beforeMs: number | null, afterMs: number | null, durationMs: number): number | null {
  const grownMs = difference(beforeMs, afterMs);
  return grownMs === null ? null : Math.min(1, grownMs / durationMs);
}
