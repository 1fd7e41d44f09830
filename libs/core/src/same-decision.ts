/** Whether two decisions are the same, as a replay asks: by value, whatever the order of keys in the stored JSON. */
import type { Decision } from "./decision.js";

/** Deepest value that a decision holds is `state.values.points[i]`; beyond this depth values count as different. */
const GREATEST_DEPTH = 16;

export function sameDecision(a: Decision, b: Decision): boolean {
  return sameValue(a, b, 0);
}

function sameValue(a: unknown, b: unknown, depth: number): boolean {
  if (a === b) return true;
  if (depth > GREATEST_DEPTH) return false;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
    return a.every((item, i) => sameValue(item, b[i], depth + 1));
  }
  const left = a as Record<string, unknown>;
  const right = b as Record<string, unknown>;
  const keys = new Set([...Object.keys(left), ...Object.keys(right)]);
  for (const key of keys) if (!sameValue(left[key], right[key], depth + 1)) return false;
  return true;
}
