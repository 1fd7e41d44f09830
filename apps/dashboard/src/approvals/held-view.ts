/** What is said of holds. Pure. */
import type { Hold } from "@fulcrum/contracts/holds.js";
import { ageText, clockText } from "../ui/format.js";

/** When it ends by itself; a freeze window: this time of it, or when the next begins. */
export function endWords({ until, window, holding }: Hold, nowMs: number): string {
  if (until !== null) return `ends ${ageText(until, nowMs)}`;
  if (window === null) return "until it is ended";
  if (!holding) return `begins ${ageText(window.from, nowMs)}`;
  if (window.until === null) return "without a gap, until it is ended";
  return `ends ${ageText(window.until, nowMs)}, at ${clockText(window.until).slice(0, 5)}`;
}

/** How long a page tells that an override was not reached; the charts and the list of holds tell it for longer. */
const TOLD_MS = 3_600_000;

/** Overrides that the controller ended since they were not reached, of each instance the newest, where no other came after it. */
export function unreachedOf(ended: readonly Hold[], active: readonly Hold[], nowMs: number): Hold[] {
  const newest = new Map<string | null, Hold>();
  for (const hold of [...ended, ...active]) {
    if (hold.kind !== "override") continue;
    const before = newest.get(hold.instance);
    if (!before || hold.from > before.from) newest.set(hold.instance, hold);
  }
  return [...newest.values()].filter(
    ({ endedAt, endedBy, endReason }) =>
      endedBy === "controller" &&
      (endReason?.startsWith("not reached") ?? false) &&
      endedAt !== null &&
      nowMs - Date.parse(endedAt) < TOLD_MS,
  );
}
