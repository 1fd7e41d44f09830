/**
 * What the semi-PD policy has counted since its last decision: the TTFTs and TPOTs of requests that were served
 * wholly at the split in force, and how long a prefill iteration took. Kept in PolicyState: two histograms of at
 * most 64 buckets and five numbers, under 2 KB of JSON.
 */
import type { LatestSignal, PolicyState, SemiPdParams, Signal, Snapshot } from "../decision.js";
import type { Histogram } from "../nouns.js";
import { finiteOrNull, isFinite, isRecord } from "../signal/fault.js";
import { addHistograms, histogramFault, sameBounds, sampleCount } from "../signal/histogram.js";

export const SEMI_PD_VERSION = 1;

export interface SemiPdSample {
  /** Of the split that all of it was measured at. */
  readonly generation: number;
  /** End of the newest window counted, epoch ms: none is counted twice. */
  readonly countedToMs: number | null;
  readonly ttft: Histogram | null;
  readonly tpot: Histogram | null;
  /** Time in prefill iterations and their number, over the windows that tell both. */
  readonly prefillBusyMs: number;
  readonly prefillBatches: number;
}

/** Finished requests with a TPOT. */
export function finishedOf(sample: SemiPdSample): number {
  return sample.tpot === null ? 0 : sampleCount(sample.tpot);
}

/** An empty sample that goes on where `sample` ends. */
export function clearSample(sample: SemiPdSample): SemiPdSample {
  return { ...sample, ttft: null, tpot: null, prefillBusyMs: 0, prefillBatches: 0 };
}

export function writeSample(sample: SemiPdSample): PolicyState {
  return { policy: "semi-pd", version: SEMI_PD_VERSION, values: { ...sample } };
}

/**
 * The sample with the snapshot's new windows. To be kept as state at every evaluation, also where a gate answers
 * before the policy is asked; a sample that was already full then and not decided on starts anew, as the
 * original's does at every decision.
 *
 * Windows come from `latest` when they ran wholly at the split in force, else from `signal`, and only when all of
 * them lie after what is counted: without `latest` an instance is counted once in a signal's length, not less.
 */
export function collectSample(snapshot: Snapshot, params: SemiPdParams): SemiPdSample {
  const { current, latest, signal, rolloutGeneration } = snapshot;
  const kept = readSample(snapshot.state, current.generation);
  const sample = finishedOf(kept) >= params.requestsPerDecision ? clearSample(kept) : kept;
  if (rolloutGeneration !== null) return sample;
  const settled: LatestSignal | null = latest?.generation === current.generation ? latest : null;
  if (isNew(settled, sample)) return addWindows(sample, settled);
  return isNew(signal, sample) ? addWindows(sample, signal) : sample;
}

/** Windows of one agent abut; a start this much before the end of the one before is rounding. */
const CLOCK_SLACK_MS = 1;

type Believable = Signal & {
  readonly toAtMs: number;
  readonly ttft: Histogram;
  readonly tpot: Histogram;
};

function isNew(windows: Signal | null, sample: SemiPdSample): windows is Believable {
  if (windows === null) return false;
  const { fromAtMs, toAtMs, ttft, tpot } = windows;
  if (!isFinite(fromAtMs) || !isFinite(toAtMs)) return false;
  const after = sample.countedToMs ?? -Infinity;
  return (
    toAtMs > after &&
    fromAtMs >= after - CLOCK_SLACK_MS &&
    histogramFault("ttft", ttft) === null &&
    histogramFault("tpot", tpot) === null
  );
}

function addWindows(sample: SemiPdSample, windows: Believable): SemiPdSample {
  const { ttft, tpot, toAtMs } = windows;
  // An engine that came back with other buckets: only the new ones can be added up.
  const fits = sameBounds(sample.ttft ?? ttft, ttft) && sameBounds(sample.tpot ?? tpot, tpot);
  const base = fits ? sample : clearSample(sample);
  const prefill = prefillWork(windows);
  return {
    generation: base.generation,
    countedToMs: toAtMs,
    ttft: base.ttft === null ? ttft : addHistograms(base.ttft, ttft),
    tpot: base.tpot === null ? tpot : addHistograms(base.tpot, tpot),
    prefillBusyMs: base.prefillBusyMs + prefill.busyMs,
    prefillBatches: base.prefillBatches + prefill.batches,
  };
}

/** Zeros where the engine does not tell both. */
function prefillWork({ busy, work, durationMs }: Signal): { busyMs: number; batches: number } {
  const batches = work?.prefillBatches ?? null;
  if (batches === null || busy.prefillShare === null) return { busyMs: 0, batches: 0 };
  return { busyMs: busy.prefillShare * durationMs, batches };
}

/** Reads a state back. One of another policy, version or split, or that makes no sense, is as good as none. */
function readSample(state: unknown, generation: number): SemiPdSample {
  const nothing: SemiPdSample = {
    generation,
    countedToMs: null,
    ttft: null,
    tpot: null,
    prefillBusyMs: 0,
    prefillBatches: 0,
  };
  if (!isRecord(state) || state.policy !== "semi-pd" || state.version !== SEMI_PD_VERSION) return nothing;
  const { values } = state;
  if (!isRecord(values)) return nothing;
  const start: SemiPdSample = { ...nothing, countedToMs: finiteOrNull(values.countedToMs) };
  if (values.generation !== generation) return start;
  const ttft = histogramOrNull(values.ttft);
  const tpot = histogramOrNull(values.tpot);
  const { prefillBusyMs, prefillBatches } = values;
  if (ttft === null || tpot === null || !isCount(prefillBusyMs) || !isCount(prefillBatches)) return start;
  return { ...start, ttft, tpot, prefillBusyMs, prefillBatches };
}

function isCount(value: unknown): value is number {
  return isFinite(value) && value >= 0;
}

function histogramOrNull(value: unknown): Histogram | null {
  return histogramFault("histogram", value) === null ? (value as Histogram) : null;
}
