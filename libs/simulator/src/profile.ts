import { Fields, refuse } from "./input-check.js";
import { parseGrid, type KernelFit, type StepGrid } from "./step-grid.js";

/**
 * What a GPU and an engine cost: step times in milliseconds at all SMs, alone on the GPU.
 *   prefill kernel = p0 + p1 * tokens + p2 * sumSq     (tokens of the batch; sum of squared lengths)
 *   decode  kernel = d0 + d1 * batch + d2 * context     (sequences; their total context tokens)
 * `engineMs` is host time per iteration (scheduling, sampling, launch): no SM share changes it.
 */
export interface Profile {
  readonly name: string;
  /** Where the numbers come from, in words. */
  readonly sources: string;
  /**
   * GPUs of the tensor-parallel group that serves as one instance; default 1. Step times and kvTotalTokens
   * are the group's, smCount is one GPU's: all ranks run every iteration together on the same split, because
   * each layer waits for all of them (semi-PD §4.5). Report rates per GPU: see perGpu.
   */
  readonly gpus?: number;
  readonly smCount: number;
  /** SMs come in TPCs of this many; a cap is delivered in whole TPCs. */
  readonly smPerTpc: number;
  readonly prefill: PhaseCost;
  readonly decode: PhaseCost;
  readonly contention: Contention;
  /** Size of the shared pool, a multiple of kvBlockTokens. */
  readonly kvTotalTokens: number;
  readonly kvBlockTokens: number;
  /** Greatest number of sequences in a decode iteration, and of requests in a prefill iteration. */
  readonly maxBatch: number;
  /** Greatest number of prompt tokens in a prefill iteration; longer prompts are chunked. */
  readonly maxBatchedTokens: number;
}

export interface PhaseCost {
  /** [p0, p1, p2] or [d0, d1, d2], milliseconds. */
  readonly kernelMs: KernelFit;
  readonly engineMs: number;
  readonly smShare: SmShareCurves;
  /** Measured kernel times; where there is one, `kernelMs` only tells how it goes on beyond its edges. */
  readonly grid?: StepGrid;
}

/**
 * How a kernel slows down when it gets only the share f of the SMs: T(f)/T(1) = (a/f + b) / (a + b).
 * Small batches fill fewer SMs and lose less, so there are two curves; in between `a` and `b` are
 * interpolated over the logarithm of the batch's size (prompt tokens, or sequences).
 */
export interface SmShareCurves {
  readonly small: SmShareCurve;
  readonly large: SmShareCurve;
}

export interface SmShareCurve {
  /** The batch size up to which (small) or from which (large) this curve holds. */
  readonly size: number;
  readonly a: number;
  readonly b: number;
}

/** What happens while both phases run: HBM and L2 are shared whatever the split is, SMs where caps overlap. */
export interface Contention {
  /** kd: decode kernels take (1 + kd) times as long while prefill runs. */
  readonly decodeByPrefill: number;
  /** kp: prefill kernels take (1 + kp) times as long while decode runs. */
  readonly prefillByDecode: number;
  /** The part of overlapping caps that goes to prefill, 0.1..0.9; its kernels bring more thread blocks. */
  readonly overlapToPrefill: number;
  /** How overlapping caps are divided; see shareInForce. Default "constant". */
  readonly overlapRule?: OverlapRule;
}

export const OVERLAP_RULES = ["constant", "proportional", "by-cap"] as const;
export type OverlapRule = (typeof OVERLAP_RULES)[number];

/** The same profile under other assumptions about contention: nothing public measures them, so runs sweep them. */
export function withContention(profile: Profile, change: Partial<Contention>): Profile {
  return { ...profile, contention: { ...profile.contention, ...change } };
}

/**
 * Checks a profile as it comes out of JSON.parse. `where` names the file in errors.
 * Throws SimulatorInputError.
 */
export function parseProfile(value: unknown, where: string): Profile {
  const fields = new Fields(value, where);
  fields.only([
    "name",
    "sources",
    "gpus",
    "smCount",
    "smPerTpc",
    "prefill",
    "decode",
    "contention",
    "kvTotalTokens",
    "kvBlockTokens",
    "maxBatch",
    "maxBatchedTokens",
  ]);
  const contention = fields.object("contention");
  contention.only(["decodeByPrefill", "prefillByDecode", "overlapToPrefill", "overlapRule"]);
  const profile: Profile = {
    name: fields.text("name"),
    sources: fields.text("sources"),
    gpus: fields.has("gpus") ? fields.integer("gpus", 1, 64) : 1,
    smCount: fields.integer("smCount", 1, 1024),
    smPerTpc: fields.integer("smPerTpc", 1, 64),
    prefill: parsePhaseCost(fields.object("prefill"), ["p0", "p1", "p2"]),
    decode: parsePhaseCost(fields.object("decode"), ["d0", "d1", "d2"]),
    contention: {
      decodeByPrefill: contention.number("decodeByPrefill", 0, 10),
      prefillByDecode: contention.number("prefillByDecode", 0, 10),
      overlapToPrefill: contention.number("overlapToPrefill", 0.1, 0.9),
      overlapRule: contention.has("overlapRule")
        ? contention.choice("overlapRule", OVERLAP_RULES)
        : "constant",
    },
    kvBlockTokens: fields.integer("kvBlockTokens", 1, 4096),
    kvTotalTokens: fields.integer("kvTotalTokens", 1, 1e9),
    maxBatch: fields.integer("maxBatch", 1, 65_536),
    maxBatchedTokens: fields.integer("maxBatchedTokens", 1, 1e6),
  };
  if (profile.kvTotalTokens % profile.kvBlockTokens !== 0) {
    refuse(where, "kvTotalTokens", `must be a multiple of kvBlockTokens ${profile.kvBlockTokens}`);
  }
  if (profile.smCount % profile.smPerTpc !== 0) {
    refuse(where, "smCount", `must be a multiple of smPerTpc ${profile.smPerTpc}`);
  }
  return profile;
}

function parsePhaseCost(fields: Fields, names: readonly [string, string, string]): PhaseCost {
  fields.only(["kernelMs", "engineMs", "smShare", "grid"]);
  const kernel = fields.object("kernelMs");
  kernel.only(names);
  const curves = fields.object("smShare");
  curves.only(["small", "large"]);
  const small = parseCurve(curves.object("small"));
  const large = parseCurve(curves.object("large"));
  if (large.size <= small.size)
    refuse(fields.where, `${fields.path}.smShare.large.size`, "must exceed small.size");
  const [constant, linear, quadratic] = names;
  // The constant is positive: an iteration that takes no time would never let the clock advance.
  const kernelMs: KernelFit = [
    kernel.number(constant, 0.001, 1e4),
    kernel.number(linear, 0, 1e3),
    kernel.number(quadratic, 0, 1),
  ];
  return {
    kernelMs,
    ...(fields.has("grid") && { grid: parseGrid(fields, "grid", kernelMs) }),
    engineMs: fields.number("engineMs", 0, 1e4),
    smShare: { small, large },
  };
}

function parseCurve(fields: Fields): SmShareCurve {
  fields.only(["size", "a", "b"]);
  return {
    size: fields.integer("size", 1, 1e6),
    a: fields.number("a", 0.001, 10),
    b: fields.number("b", 0, 10),
  };
}

/**
 * The cap that the hardware delivers for a cap asked for: rounded down to whole TPCs as MPS does, at
 * least one, in percent of all SMs.
 */
export function deliveredSmPct(profile: Profile, askedPct: number): number {
  const tpcs = profile.smCount / profile.smPerTpc;
  // 1e-9 keeps a cap that is meant to be a whole number of TPCs (29 of 50 at 58 %) from losing one to rounding.
  const delivered = Math.max(1, Math.floor((askedPct / 100) * tpcs + 1e-9));
  return (delivered / tpcs) * 100;
}
