/**
 * Whether two decisions are the same, as a replay asks: by value, whatever the order of keys in the stored JSON. What
 * decisions did not hold in older versions counts only where both have it.
 */
import type { Candidate, Decision } from "./decision.js";

/** Deepest value that a decision holds is `state.values.points[i]`; beyond this depth values count as different. */
const GREATEST_DEPTH = 16;

export function sameDecision(a: Decision, b: Decision): boolean {
  return sameValue(asToldBy(a, b), asToldBy(b, a), 0);
}

/** A decision without what `other` was made too early to tell: the share of its candidates. */
export function asToldBy(decision: Decision, other: Decision): Decision {
  if (tellsShares(other) || !tellsShares(decision)) return decision;
  return { ...decision, candidates: decision.candidates.map(withoutShare) };
}

function withoutShare(candidate: Candidate): Candidate {
  const { share: _, ...rest } = candidate;
  return rest;
}

/** A row may hold anything. */
function tellsShares({ candidates }: Partial<Decision>): boolean {
  return (
    Array.isArray(candidates) && candidates.some((each: Partial<Candidate>) => each?.share !== undefined)
  );
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
