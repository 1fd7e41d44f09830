export interface BackoffBounds {
  readonly firstMs: number;
  readonly capMs: number;
}

/**
 * The wait before try number `failures + 1`: doubles from `firstMs` up to `capMs`, then spread over
 * 50..100 % so that agents cut off together do not come back together. `random` is in [0, 1).
 */
export function backoffMs(failures: number, bounds: BackoffBounds, random: number): number {
  const full = Math.min(bounds.capMs, bounds.firstMs * 2 ** Math.min(30, Math.max(0, failures - 1)));
  return full * (0.5 + random / 2);
}
