/** What the workers did between two snapshots. */
import type { WindowWork } from "@fulcrum/core/nouns.js";
import type { Snapshot, SnapshotCounters } from "../reader/engine-reader.js";
import { difference, share } from "./growth.js";

/**
 * Null when the engine tells none of it. A mean is null too when there was nothing to take it of, for example the
 * batch of a window in which no decode iteration ended.
 *
 * The step is what the phase was busy per iteration that ended: of the iterations that a window's edges cut, the
 * part inside counts, so over windows in a row it adds up to the true mean. The longest prompt cannot be had from
 * counters.
 */
export function windowWork(before: Snapshot, after: Snapshot, durationMs: number): WindowWork | null {
  const grown = (key: keyof SnapshotCounters): number | null =>
    difference(before.counters[key], after.counters[key]);
  const shareOf = (key: keyof SnapshotCounters): number | null =>
    share(before.counters[key], after.counters[key], durationMs);
  const { prefillWaitingTokens, oldestWaitMs, decodeWaiting, maxSequences, maxBatchTokens } = after.gauges;
  const decodeSteps = grown("decodeSteps");
  const decodeBusyMs = grown("decodeBusyMs");
  const work: WindowWork = {
    promptTokensSq: grown("promptTokensSq"),
    maxPromptTokens: null,
    finishedOutputTokens: grown("finishedOutputTokens"),
    prefillBatches: grown("prefillBatches"),
    prefillTokens: grown("prefillTokens"),
    decodeSteps,
    decodeStepMeanMs: ratio(decodeBusyMs, decodeSteps),
    decodeBatchMean: ratio(grown("decodeSequences"), decodeSteps),
    decodeContextMean: ratio(grown("decodeContextTokenMs"), decodeBusyMs),
    overlapShare: shareOf("overlapMs"),
    prefillGpuShare: shareOf("prefillGpuMs"),
    decodeGpuShare: shareOf("decodeGpuMs"),
    prefillWaitingTokens,
    oldestWaitMs,
    decodeWaiting,
    maxSequences,
    maxBatchTokens,
  };
  return Object.values(work).every((part) => part === null) ? null : work;
}

function ratio(sum: number | null, count: number | null): number | null {
  return sum === null || count === null || count <= 0 ? null : sum / count;
}
