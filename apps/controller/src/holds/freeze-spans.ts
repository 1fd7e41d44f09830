import type { Schedule } from "@fulcrum/contracts/holds.js";
import { cronOf, heldUntil, type Span } from "./freeze-window.js";

/**
 * The times of a freeze window that touch [fromMs, toMs), newest first; times that overlap or abut are one. At most
 * `mostStarts` starts are looked at, the newest ones: reckoning one takes some 0.1 ms.
 */
export function spansBetween(schedule: Schedule, fromMs: number, toMs: number, mostStarts: number): Span[] {
  const cron = cronOf(schedule);
  const { durationMs } = schedule;
  const spans: Span[] = [];
  let beforeMs = toMs;
  for (let looked = 0; looked < mostStarts; looked += 1) {
    const start = cron.previousRuns(1, new Date(beforeMs)).at(0)?.getTime();
    if (start === undefined || start + durationMs <= fromMs) break;
    const newer = spans.at(-1);
    const untilMs = start + durationMs;
    if (newer && untilMs >= newer.fromMs) spans[spans.length - 1] = { ...newer, fromMs: start };
    else spans.push({ fromMs: start, untilMs });
    beforeMs = start;
  }
  const [newest, ...older] = spans;
  if (newest === undefined || newest.untilMs <= toMs) return spans;
  // The one in force at the end goes on for as long as its later times overlap.
  return [{ ...newest, untilMs: heldUntil(schedule, toMs) ?? newest.untilMs }, ...older];
}
