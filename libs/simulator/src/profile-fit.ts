import type { Phase } from "@fulcrum/core/nouns.js";
import { fitCurves, medianOf, type CurveFit } from "./profile-fit-curves.js";
import { fitPhase, sizeOf, type PhaseFit } from "./profile-fit-phase.js";
import type { SmSharePoints, StepPoint, StepPoints } from "./profile-fit-points.js";
import { extrapolations } from "./profile-fit-reach.js";
import { parseProfile, type Profile, type SmShareCurves } from "./profile.js";
import type { GridPoint } from "./step-grid.js";

export interface ProfileFitInput {
  readonly name: string;
  readonly steps: StepPoints;
  /** Null: the base's SM-share curves are kept. */
  readonly smShares: SmSharePoints | null;
  /** Gives everything that was not measured: engine constants, contention, SM and KV figures, limits. */
  readonly base: Profile;
  /** Whether the measured points go into the profile beside the coefficients, for interpolation. */
  readonly withGrid: boolean;
  /** Where the measurements and what was not measured come from, in words. */
  readonly sources: string;
}

export interface ProfileFit {
  /** What goes into the file. */
  readonly json: ProfileJson;
  /** The same, as the simulator reads it. */
  readonly profile: Profile;
  readonly phases: readonly PhaseFit[];
  /** Empty when the base's curves were kept. */
  readonly curves: readonly CurveFit[];
  /** Where a simulation with this profile goes beyond what was measured, a sentence each. */
  readonly extrapolates: readonly string[];
}

/** A profile as its file has it (docs/profiles.md). */
export type ProfileJson = Readonly<Record<string, unknown>>;

/**
 * Fits a profile to measured steps. Throws SimulatorInputError when they are too few (naming what is missing), or
 * when what comes out breaks a bound of the profile format.
 */
export function fitProfile(input: ProfileFitInput): ProfileFit {
  const { steps, smShares, base } = input;
  const phases = [fitPhase("prefill", steps.prefill), fitPhase("decode", steps.decode)];
  const curves = smShares === null ? [] : fitCurves(smShares.points);
  const json = jsonOf(input, phases, curves);
  const profile = parseProfile(json, "fitted profile");
  return {
    json,
    profile,
    phases,
    curves,
    extrapolates: extrapolations({
      profile,
      phases,
      curves,
      steps,
      smSharesLabel: smShares?.label ?? null,
      baseName: base.name,
    }),
  };
}

function jsonOf(
  input: ProfileFitInput,
  phases: readonly PhaseFit[],
  curves: readonly CurveFit[],
): ProfileJson {
  const { name, sources, base, steps } = input;
  const cost = (phase: Phase, terms: readonly [string, string, string]): Record<string, unknown> => {
    const [k0 = 0, k1 = 0, k2 = 0] = phases.find((fit) => fit.phase === phase)?.kernelMs ?? [];
    return {
      kernelMs: { [terms[0]]: digits(k0), [terms[1]]: digits(k1), [terms[2]]: digits(k2) },
      engineMs: base[phase].engineMs,
      smShare: curvesOf(curves, phase) ?? base[phase].smShare,
      ...(input.withGrid && { grid: gridOf(phase, steps[phase]) }),
    };
  };
  return {
    name,
    sources,
    ...(base.gpus !== undefined && base.gpus > 1 && { gpus: base.gpus }),
    smCount: base.smCount,
    smPerTpc: base.smPerTpc,
    prefill: cost("prefill", ["p0", "p1", "p2"]),
    decode: cost("decode", ["d0", "d1", "d2"]),
    contention: base.contention,
    kvTotalTokens: base.kvTotalTokens,
    kvBlockTokens: base.kvBlockTokens,
    maxBatch: base.maxBatch,
    maxBatchedTokens: base.maxBatchedTokens,
  };
}

function curvesOf(curves: readonly CurveFit[], phase: Phase): SmShareCurves | null {
  const curveAt = (end: CurveFit["end"]) => {
    const fit = curves.find((candidate) => candidate.phase === phase && candidate.end === end);
    return fit && { size: fit.curve.size, a: digits(fit.curve.a), b: digits(fit.curve.b) };
  };
  const [small, large] = [curveAt("small"), curveAt("large")];
  return small === undefined || large === undefined ? null : { small, large };
}

/** One point for each place: the median of what was measured there. */
function gridOf(phase: Phase, points: readonly StepPoint[]): GridPoint[] {
  const places = new Map<string, { readonly size: number; readonly length: number; readonly ms: number[] }>();
  for (const point of points) {
    const size = sizeOf(phase, point);
    const key = `${size},${point.length}`;
    const place = places.get(key) ?? { size, length: point.length, ms: [] };
    place.ms.push(point.ms);
    places.set(key, place);
  }
  return [...places.values()].map(({ size, length, ms }): GridPoint => [size, length, digits(medianOf(ms))]);
}

/** Seven significant digits are more than any measurement has, and keep files readable. */
function digits(value: number): number {
  return Number(value.toPrecision(7));
}
