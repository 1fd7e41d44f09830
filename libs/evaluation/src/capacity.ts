import type { Lengths } from "@fulcrum/simulator/arrivals.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { kernelMsOf } from "@fulcrum/simulator/step-time.js";

const MAX_PREFILL_SHARE = 0.98;

/**
 * r_max: the highest rate, requests per second, that one GPU sustains when the phases take turns on it, by kernel
 * times alone. Prefill takes rho = r * E[prefill s]; the decode step t(B) must give r * E[output] tokens per second
 * in what is left, with a batch B that fits `maxBatch` and the KV pool. Engine constants lower what a real engine
 * reaches; running both phases side by side may exceed it.
 */
export function timeSharedRatePerS(profile: Profile, sample: readonly Lengths[]): number {
  const mean = (of: (row: Lengths) => number) =>
    sample.reduce((sum, row) => sum + of(row), 0) / sample.length;
  const prefillS = mean((row) => kernelMsOf(profile.prefill, row.promptTokens, row.promptTokens ** 2)) / 1000;
  const outputMean = mean((row) => row.outputTokens);
  // A request holds its context for as long as its answer takes: weighted by output, half of it there on average.
  const context = mean((row) => row.outputTokens * (row.promptTokens + row.outputTokens / 2)) / outputMean;
  const batch = Math.max(1, Math.min(profile.maxBatch, profile.kvTotalTokens / context));
  const tokensPerS = (1000 * batch) / kernelMsOf(profile.decode, batch, batch * context);
  // rho <= 0.98 and r * output <= (1 - r * prefillS) * tokensPerS.
  return Math.min(MAX_PREFILL_SHARE / prefillS, tokensPerS / (outputMean + prefillS * tokensPerS));
}

/** Prefill kernels' time alone on the whole GPU at this rate, as a share: the lambda of semi-PD eq. 3. */
export function prefillLoadShare(profile: Profile, sample: readonly Lengths[], ratePerS: number): number {
  return ratePerS * prefillKernelS(profile, sample);
}

function prefillKernelS(profile: Profile, sample: readonly Lengths[]): number {
  const times = sample.map(({ promptTokens }) =>
    kernelMsOf(profile.prefill, promptTokens, promptTokens ** 2),
  );
  return times.reduce((sum, ms) => sum + ms, 0) / times.length / 1000;
}
