import type { Allocation, SloTarget, Split } from "@fulcrum/core/nouns.js";
import { createInstance } from "@fulcrum/simulator/instance.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import type { RequestOutcome } from "./outcome.js";
import { runServing } from "./run-serving.js";

/** The split that leaves every cap open; where a search in hindsight begins, and what it must beat. */
export const OPEN_SPLIT: Split = { prefillSmPct: 100, decodeSmPct: 100 };

/** Where the search in hindsight begins: sums of 100 and over it. */
const NET: readonly Split[] = [30, 60, 80, 100].flatMap((prefillSmPct) =>
  [20, 40, 70, 100]
    .filter((decodeSmPct) => prefillSmPct + decodeSmPct >= 100)
    .map((decodeSmPct) => ({ prefillSmPct, decodeSmPct })),
);

/** Then around the best so far: points of prefill's cap, and parts of decode's. */
const STEPS = [
  [10, 0.3],
  [5, 0.15],
] as const;

const LEAST_CAP_PCT = 10;

export interface FixedCase {
  readonly profile: Profile;
  readonly requests: readonly SimRequest[];
  readonly slo: SloTarget;
  readonly drainMs: number;
}

export interface FixedOutcome {
  readonly split: Split;
  readonly misses: number;
  readonly outcomes: readonly RequestOutcome[];
  readonly preemptions: number;
}

/** Serves the case on one split; null when more than `mostMisses` requests are certain to miss. */
export function runFixed(
  { profile, requests, slo, drainMs }: FixedCase,
  split: Split,
  mostMisses?: number,
): FixedOutcome | null {
  const initial: Allocation & { generation: number } = { split, kvQuotaPct: 100, generation: 1 };
  const serving = createInstance({ profile, initial });
  const run = runServing({ serving, requests, slo, drainMs, mostMisses });
  if (run === null) return null;
  return { ...run, split, misses: run.outcomes.filter((outcome) => !outcome.ok).length };
}

/**
 * The fixed splits that serve a case best, best first: a coarse net over both caps, then twice the neighbours of the
 * best. One that is certain to stay behind the `keep`-th best so far is given up. The open split is always tried.
 */
export function bestFixed(fixed: FixedCase, keep: number): readonly [FixedOutcome, ...FixedOutcome[]] {
  const open = runFixed(fixed, OPEN_SPLIT);
  if (open === null) throw new Error("a run without a limit was given up");
  const ranking = new Ranking(open, keep);
  ranking.tryAll(fixed, NET);
  for (const [points, part] of STEPS) {
    ranking.tryAll(fixed, neighbours(ranking.best[0].split, points, part));
  }
  return ranking.best;
}

class Ranking {
  best: [FixedOutcome, ...FixedOutcome[]];
  readonly #tried = new Set<string>();

  constructor(
    first: FixedOutcome,
    private readonly keep: number,
  ) {
    this.best = [first];
    this.#tried.add(keyOf(first.split));
  }

  tryAll(fixed: FixedCase, splits: readonly Split[]): void {
    for (const split of splits) {
      if (this.#tried.has(keyOf(split))) continue;
      this.#tried.add(keyOf(split));
      const full = this.best.length >= this.keep;
      // Nothing beats a split that misses nothing.
      if (full && this.best[0].misses === 0) return;
      const outcome = runFixed(fixed, split, full ? this.best.at(-1)?.misses : undefined);
      if (outcome === null) continue;
      // Sorting is stable: of equals the one tried first stays ahead.
      const ranked = [...this.best, outcome].sort((a, b) => a.misses - b.misses).slice(0, this.keep);
      this.best = ranked as [FixedOutcome, ...FixedOutcome[]];
    }
  }
}

function neighbours({ prefillSmPct, decodeSmPct }: Split, points: number, part: number): readonly Split[] {
  const cap = (pct: number) => Math.round(Math.min(100, Math.max(LEAST_CAP_PCT, pct)));
  return [0, -1, 1].flatMap((i) =>
    [0, -1, 1].map((j) => ({
      prefillSmPct: cap(prefillSmPct + i * points),
      decodeSmPct: cap(decodeSmPct * (1 + j * part)),
    })),
  );
}

function keyOf({ prefillSmPct, decodeSmPct }: Split): string {
  return `${prefillSmPct}/${decodeSmPct}`;
}
