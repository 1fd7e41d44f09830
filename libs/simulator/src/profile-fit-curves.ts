import type { Phase } from "@fulcrum/core/nouns.js";
import { SimulatorInputError } from "./input-check.js";
import { fitNonNegative, goodnessOf } from "./profile-fit-linear.js";
import { rangeOf, sizeOf, type Range } from "./profile-fit-phase.js";
import type { SmSharePoint } from "./profile-fit-points.js";
import type { SmShareCurve } from "./profile.js";

/** One of the four SM-share curves of a profile, and what it rests on. */
export interface CurveFit {
  readonly phase: Phase;
  readonly end: "small" | "large";
  readonly curve: SmShareCurve;
  /** Of a/f + b against the medians; null when they are all equal. */
  readonly r2: number | null;
  /** Mean |error| of the slowdown that the simulator uses, (a/f + b)/(a + b), over the single measurements. */
  readonly mapePct: number;
  /** Median slowdown against 100 % of the SMs, by share, ascending; 100 is among them. */
  readonly medians: readonly { readonly smPct: number; readonly slowdown: number }[];
  /** Batches measured at 100 % and below. */
  readonly batches: number;
  readonly lengths: Range;
}

/** The batch sizes (prompt tokens, sequences) up to which "small" and from which "large" holds (data set of MuxServe). */
const ENDS: Readonly<Record<Phase, Readonly<Record<CurveFit["end"], number>>>> = {
  prefill: { small: 256, large: 4096 },
  decode: { small: 16, large: 64 },
};

const LEAST_LOWER_SHARES = 3;
/** parseProfile's bound: a curve that an SM share does not touch at all cannot be written. */
const LEAST_A = 0.001;

/**
 * Fits the slowdown a/f + b at SM share f, for small and for large batches of both phases: each measurement over
 * the same batch's at 100 %, the median of these at each share, least squares through the medians. Medians,
 * because single measurements under MPS are off by tens of percent where kernels are selected anew. Throws
 * SimulatorInputError naming the curves that cannot be fitted and what to measure.
 */
export function fitCurves(points: readonly SmSharePoint[]): readonly CurveFit[] {
  const wanted = (["prefill", "decode"] as const).flatMap((phase) =>
    (["small", "large"] as const).map((end) => ({ phase, end })),
  );
  const fits = wanted.map(({ phase, end }) => fitCurve(points, phase, end));
  const missing = fits.filter((fit) => typeof fit === "string");
  if (missing.length > 0) throw new SimulatorInputError(`SM-share curves: ${missing.join("; ")}`);
  return fits.filter((fit) => typeof fit !== "string");
}

function fitCurve(points: readonly SmSharePoint[], phase: Phase, end: CurveFit["end"]): CurveFit | string {
  const size = ENDS[phase][end];
  const ratios = slowdowns(points, phase).filter((ratio) =>
    end === "small" ? ratio.size <= size : ratio.size >= size,
  );
  const shares = [...new Set(ratios.map((ratio) => ratio.smPct))].toSorted((a, b) => a - b);
  const lower = shares.filter((smPct) => smPct < 100).length;
  if (lower < LEAST_LOWER_SHARES) {
    const unit = phase === "prefill" ? "prompt tokens" : "sequences";
    const bound = end === "small" ? "at most" : "at least";
    return `${phase} of ${bound} ${size} ${unit} needs the same batches at 100 % and at ${LEAST_LOWER_SHARES} lower shares, has ${lower}`;
  }
  const medians = shares.map((smPct) => ({
    smPct,
    slowdown: medianOf(ratios.filter((ratio) => ratio.smPct === smPct).map((ratio) => ratio.slowdown)),
  }));
  const rows = medians.map(({ smPct }) => [100 / smPct, 1]);
  const targets = medians.map(({ slowdown }) => slowdown);
  const [slope = 0, b = 0] =
    fitNonNegative(
      rows,
      targets,
      targets.map(() => 1),
    ) ?? [];
  const a = Math.max(slope, LEAST_A);
  const ofSimulator = ratios.map(({ smPct }) => ((a * 100) / smPct + b) / (a + b));
  return {
    phase,
    end,
    curve: { size, a, b },
    r2: goodnessOf(
      rows.map(([inverse = 0]) => a * inverse + b),
      targets,
    ).r2,
    mapePct: goodnessOf(
      ofSimulator,
      ratios.map((ratio) => ratio.slowdown),
    ).mapePct,
    medians,
    batches: new Set(ratios.map((ratio) => ratio.batch)).size,
    lengths: rangeOf(ratios.map((ratio) => ratio.length)),
  };
}

interface Slowdown {
  readonly batch: string;
  readonly size: number;
  readonly length: number;
  readonly smPct: number;
  readonly slowdown: number;
}

/** Each measurement over the same batch's at 100 % (the median of them, where it was repeated). */
function slowdowns(points: readonly SmSharePoint[], phase: Phase): Slowdown[] {
  const timed = points.flatMap((point) => {
    const ms = phase === "prefill" ? point.prefillMs : point.decodeMs;
    return ms === null ? [] : [{ ...point, ms, batch: `${point.batchSize}x${point.length}` }];
  });
  const full = new Map<string, number[]>();
  for (const { smPct, batch, ms } of timed) {
    if (smPct === 100) full.set(batch, [...(full.get(batch) ?? []), ms]);
  }
  return timed.flatMap(({ batch, smPct, ms, batchSize, length }) => {
    const atFull = full.get(batch);
    if (atFull === undefined) return [];
    const size = sizeOf(phase, { batchSize, length });
    return [{ batch, size, length, smPct, slowdown: ms / medianOf(atFull) }];
  });
}

/** The middle value, or the mean of the two middle ones. */
export function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[sorted.length / 2 - 1] ?? Number.NaN)) / 2;
}
