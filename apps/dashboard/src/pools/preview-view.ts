/** What a preview says, in words. Pure. */
import type { Preview, PreviewOutcome } from "@fulcrum/contracts/preview.js";
import { splitText } from "../ui/format.js";

export type PreviewItem = Preview["items"][number];

function same(a: PreviewOutcome, b: PreviewOutcome): boolean {
  return a.kind === b.kind && a.applies === b.applies && splitText(a.allocation) === splitText(b.allocation);
}

/** now: it would be decided otherwise at this moment; unheld: once nothing holds it any more. */
export function differenceOf({ now, then }: PreviewItem): "now" | "unheld" | null {
  if (!same(now, then)) return "now";
  return same(now.unheld ?? now, then.unheld ?? then) ? null : "unheld";
}

/** `move to 60/40`, `record a move to 60/40`, `hold`. */
export function deedOf({ kind, applies, mode, allocation }: PreviewOutcome): string {
  if (kind === "hold") return "hold";
  const verb = applies ? "move" : mode === "recommend" ? "propose" : "record";
  return `${verb} to ${splitText(allocation)}`;
}

/** `2 would be decided otherwise now, 1 once it is not held any more, 5 the same.` */
export function summaryOf(items: readonly PreviewItem[]): string {
  const count = (which: "now" | "unheld" | null) =>
    items.filter((item) => differenceOf(item) === which).length;
  const [now, unheld, left] = [count("now"), count("unheld"), count(null)];
  const parts = [`${now === 0 ? "Nothing" : now} would be decided otherwise now`];
  if (unheld > 0) parts.push(`${unheld} once ${unheld === 1 ? "it is" : "they are"} not held any more`);
  if (left > 0) parts.push(`${left} the same`);
  return `${parts.join(", ")}.`;
}
