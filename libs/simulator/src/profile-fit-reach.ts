import type { Phase } from "@fulcrum/core/nouns.js";
import type { CurveFit } from "./profile-fit-curves.js";
import type { PhaseFit } from "./profile-fit-phase.js";
import type { StepPoints } from "./profile-fit-points.js";
import type { Profile } from "./profile.js";
import { slowdown } from "./step-time.js";

export interface Reach {
  readonly profile: Profile;
  readonly phases: readonly PhaseFit[];
  readonly curves: readonly CurveFit[];
  readonly steps: StepPoints;
  readonly smSharesLabel: string | null;
  readonly baseName: string;
}

/** Where a simulation with this profile goes beyond what was measured, a sentence each. */
export function extrapolations(reach: Reach): string[] {
  const { profile, phases } = reach;
  const of = (phase: Phase) => phases.find((fit) => fit.phase === phase);
  return [
    ...prefillReach(of("prefill"), profile),
    ...decodeReach(of("decode"), profile, reach.steps),
    ...curveReach(reach),
    "Contention: steps were measured alone; what prefill and decode cost each other while both run is assumed.",
    `Engine constants (${profile.prefill.engineMs} and ${profile.decode.engineMs} ms an iteration) are taken as given: kernel times do not show them.`,
  ];
}

function prefillReach(fit: PhaseFit | undefined, profile: Profile): string[] {
  if (fit === undefined) return [];
  const { size, batchSize } = fit.ranges;
  const found = [`Prefill below ${size[0]} tokens in a batch.`];
  if (profile.maxBatchedTokens > size[1]) {
    found.push(`Prefill above ${size[1]} tokens in a batch; the profile allows ${profile.maxBatchedTokens}.`);
  }
  if (batchSize[1] === 1)
    found.push(
      "Prefill of several prompts in a batch: only single ones were measured; costs are taken to add up.",
    );
  return found;
}

function decodeReach(fit: PhaseFit | undefined, profile: Profile, steps: StepPoints): string[] {
  if (fit === undefined) return [];
  const { batchSize, length } = fit.ranges;
  const found: string[] = [];
  if (batchSize[0] > 1) found.push(`Decode below ${batchSize[0]} sequences.`);
  if (profile.maxBatch > batchSize[1]) {
    found.push(`Decode above ${batchSize[1]} sequences; the profile allows ${profile.maxBatch}.`);
  }
  found.push(`Decode with less than ${length[0]} or more than ${length[1]} tokens of context each.`);
  const mostContext = steps.decode.reduce((most, point) => Math.max(most, point.batchSize * point.length), 0);
  if (profile.kvTotalTokens > mostContext) {
    found.push(
      `Decode with more than ${mostContext} tokens of context in all; the pool holds ${profile.kvTotalTokens}.`,
    );
  }
  return found;
}

function curveReach({ profile, curves, steps, smSharesLabel, baseName }: Reach): string[] {
  if (smSharesLabel === null) {
    return [`Every SM share below 100 %: no SM-share times were given; the curves are those of ${baseName}.`];
  }
  const lowest = Math.max(...curves.map((curve) => curve.medians[0]?.smPct ?? 100));
  const half = lowest / 200;
  const prefillAt = slowdown(profile.prefill.smShare, profile.prefill.smShare.large.size, half);
  const found = [
    `SM shares below ${lowest} %: the curves go on as a/f + b (a large prefill at ${(100 * half).toFixed(0)} % is taken ${prefillAt.toFixed(1)} times as long).`,
  ];
  const longest = Math.max(...curves.map((curve) => curve.lengths[1]));
  const contexts = Math.max(...steps.decode.map((point) => point.length));
  if (contexts > longest) {
    found.push(
      `SM shares with sequences longer than ${longest} tokens: they are taken to slow down like shorter ones.`,
    );
  }
  if (smSharesLabel !== steps.label) {
    found.push(`SM-share curves were measured on another model (${smSharesLabel}) than ${steps.label}.`);
  }
  return found;
}
