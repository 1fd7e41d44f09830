import { SPARK_MS, SPARK_POINTS, type Spark } from "@fulcrum/contracts/live.js";
import type { Histogram, SloTarget, Window } from "@fulcrum/core/nouns.js";
import { sameBounds } from "@fulcrum/core/signal/histogram.js";
import { recentHistogram } from "../fleet/recent-histogram.js";
import { type Fold, foldWindow, perS, type Sight, sightOf } from "./fold.js";

export const STEP_MS = SPARK_MS / SPARK_POINTS;
/** Sets of histogram bounds that are shared; a fleet has a handful. */
const MAX_BOUNDS = 32;

export interface RecentView extends Sight {
  readonly ttft: Histogram | null;
  readonly tpot: Histogram | null;
  readonly arrivalPerS: number | null;
  readonly kvUsedShare: number | null;
  readonly spark: Spark;
}

/**
 * The last two minutes of every instance in steps of two seconds: windows are folded as they come, so that the
 * fleet's page costs neither their reading nor their adding up.
 */
export class RecentSteps {
  private readonly byInstance = new Map<string, Map<number, Fold>>();
  private readonly examples: Histogram[] = [];
  private readonly sights = new WeakMap<Fold, { slo: string; sight: Sight }>();

  add(instanceId: string, window: Window): void {
    const steps = this.byInstance.get(instanceId) ?? new Map<number, Fold>();
    this.byInstance.set(instanceId, steps);
    const index = Math.floor(window.endAtMs / STEP_MS);
    const shared = { ...window, ttft: this.shared(window.ttft), tpot: this.shared(window.tpot) };
    steps.set(index, foldWindow(steps.get(index) ?? null, shared));
  }

  /** Forgets what is older than two minutes, and instances of which nothing is left. */
  prune(nowMs: number): void {
    const oldest = Math.floor(nowMs / STEP_MS) - SPARK_POINTS;
    for (const [id, steps] of this.byInstance) {
      for (const index of steps.keys()) if (index <= oldest) steps.delete(index);
      if (steps.size === 0) this.byInstance.delete(id);
    }
  }

  clear(): void {
    this.byInstance.clear();
  }

  /** Of the steps within `lookbackMs`, and all of them as a sparkline. */
  view(instanceId: string, slo: SloTarget, lookbackMs: number, nowMs: number): RecentView {
    const steps = this.byInstance.get(instanceId);
    const last = Math.floor(nowMs / STEP_MS);
    const kept = Array.from({ length: SPARK_POINTS }, (_, i) => steps?.get(last - i));
    const folds = kept.filter((step) => step !== undefined);
    const looked = folds.filter(({ endAtMs }) => endAtMs > nowMs - lookbackMs);
    const ttft = recentHistogram(looked.map((step) => step.ttft).filter((each) => each !== null));
    const tpot = recentHistogram(looked.map((step) => step.tpot).filter((each) => each !== null));
    const total = (pick: (step: Fold) => number) => looked.reduce((sum, step) => sum + pick(step), 0);
    const key = JSON.stringify(slo);
    const sights = kept.toReversed().map((step) => (step ? this.sightAt(step, slo, key) : null));
    return {
      ...sightOf(ttft, tpot, slo),
      ttft,
      tpot,
      arrivalPerS: perS(
        total((step) => step.arrivals),
        total((step) => step.durationMs),
      ),
      kvUsedShare: looked[0]?.kvUsedShare ?? null,
      spark: {
        stepMs: STEP_MS,
        attainment: sights.map((sight) => sight?.attainmentShare ?? null),
        ttftMs: sights.map((sight) => sight?.ttftMs ?? null),
        tpotMs: sights.map((sight) => sight?.tpotMs ?? null),
      },
    };
  }

  /** A step that is over does not change: its percentiles are computed once. */
  private sightAt(step: Fold, slo: SloTarget, key: string): Sight {
    const known = this.sights.get(step);
    if (known?.slo === key) return known.sight;
    const { ttftMs, tpotMs, attainmentShare } = sightOf(step.ttft, step.tpot, slo);
    const sight = {
      ttftMs: rounded(ttftMs, 10),
      tpotMs: rounded(tpotMs, 10),
      attainmentShare: rounded(attainmentShare, 1_000),
    };
    this.sights.set(step, { slo: key, sight });
    return sight;
  }

  /** The bounds are half of a histogram's memory and the same for a whole fleet. */
  private shared(histogram: Histogram): Histogram {
    const known = this.examples.find((example) => sameBounds(example, histogram));
    if (known) return { ...histogram, boundsMs: known.boundsMs };
    if (this.examples.length < MAX_BOUNDS) this.examples.push(histogram);
    return histogram;
  }
}

/** A sparkline is some 20 pixels high: more digits would be half of the page's bytes. */
function rounded(value: number | null, parts: number): number | null {
  return value === null ? null : Math.round(value * parts) / parts;
}
