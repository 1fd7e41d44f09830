/** An error budget as a line that goes down. Pure. */
import type { Budget } from "@fulcrum/contracts/budgets.js";

export interface BurnPoint {
  readonly atMs: number;
  /** Of the whole budget: 1 at the beginning, below 0 once the promise is broken. */
  readonly leftShare: number;
}

/** What was left at the end of each slice, of the budget that these days' requests make; begins full. */
export function burnDown({ bySlice, sliceMs, requests, target }: Budget): BurnPoint[] {
  // To a millionth: 1 - 0.9 is no tenth in binary.
  const allowed = Number((requests * (1 - target)).toFixed(6));
  const first = bySlice[0];
  if (first === undefined || allowed <= 0) return [];
  let missed = 0;
  const points: BurnPoint[] = [{ atMs: first.fromMs, leftShare: 1 }];
  for (const slice of bySlice) {
    missed += slice.requests - slice.within;
    points.push({ atMs: slice.fromMs + sliceMs, leftShare: 1 - missed / allowed });
  }
  return points;
}
