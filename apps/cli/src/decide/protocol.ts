/**
 * The lines of `fulcrum decide`, read leniently: unknown fields are ignored, a statistic that is null or not a
 * number is null. Units are the protocol's (seconds, tokens) and leave this file as milliseconds.
 */
import type { Allocation, Histogram, Limits, SloTarget } from "@fulcrum/core/nouns.js";
import { UNCONTROLLED } from "@fulcrum/core/nouns.js";
import { finiteOrNull, isRecord } from "@fulcrum/core/signal/fault.js";
import { sampleCount } from "@fulcrum/core/signal/histogram.js";
import { coarsen } from "./coarsen.js";
import { splitBucket } from "./split-bucket.js";
import { readWork, type SeenWork } from "./read-work.js";

/** A line that cannot be used; the message names the field. */
export class LineError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "LineError";
  }
}

export interface Hello {
  readonly profile: string;
  readonly controlIntervalMs: number;
  /** Bucket bounds as they come; a last bound that is null (JSON's infinity) is left out. */
  readonly boundsMs: readonly number[];
  readonly slo: SloTarget;
  readonly limits: Limits;
  readonly initial: Allocation;
}

export interface Observation {
  readonly idx: number | null;
  readonly endMs: number;
  readonly windowMs: number;
  readonly slo: SloTarget | null;
  readonly split: Partial<AllocationFields>;
  readonly target: Partial<AllocationFields>;
  readonly switchPending: boolean;
  readonly lastSwitchMs: number | null;
  readonly arrivals: number;
  readonly promptTokens: number;
  readonly finished: number;
  readonly outputTokens: number;
  readonly ttft: Histogram;
  readonly tpot: Histogram;
  readonly prefillBusyShare: number | null;
  readonly decodeBusyShare: number | null;
  readonly prefillWaiting: number | null;
  readonly decodeRunning: number | null;
  readonly kvTotalTokens: number | null;
  readonly kvUsedTokens: number | null;
  readonly preemptions: number | null;
  readonly work: SeenWork;
}

export interface AllocationFields {
  readonly prefillSmPct: number;
  readonly decodeSmPct: number;
  readonly kvPrefillQuotaPct: number;
}

/** Throws LineError unless the line is one JSON object. */
export function parseLine(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new LineError(`not JSON: ${error instanceof Error ? error.message : "unreadable"}`);
  }
  if (!isRecord(value)) throw new LineError("not a JSON object");
  return value;
}

/** Throws LineError when the SLO, or the histogram bounds, cannot be used. */
export function readHello(line: Record<string, unknown>): Hello {
  const slo = readSlo(line.slo);
  if (slo === null)
    throw new LineError("hello.slo must hold ttftS, tpotS (above 0) and percentile (above 0, at most 1)");
  const limits = record(line.limits);
  const quota = Array.isArray(limits.kvPrefillQuotaPct) ? limits.kvPrefillQuotaPct : [];
  const maxSmPct = number(limits.maxSmPct, 100);
  return {
    profile: typeof line.profile === "string" ? line.profile : "unknown",
    controlIntervalMs: Math.max(1, 1000 * number(line.controlIntervalS, 5)),
    boundsMs: readBounds(line.histBoundsS),
    slo,
    limits: {
      minSmPct: number(limits.minSmPct, 5),
      maxSmPct,
      maxSumPct: limits.oversubscriptionAllowed === false ? 100 : Math.max(100, 2 * maxSmPct),
      granularityPct: 1,
      minKvQuotaPct: number(quota[0], 5),
      maxKvQuotaPct: number(quota[1], 100),
    },
    initial: allocationFrom(readAllocation(line.initial), UNCONTROLLED),
  };
}

/** Throws LineError when the window has no end or no length. Counts that are null are taken as none. */
export function readObservation(line: Record<string, unknown>, hello: Hello): Observation {
  const endS = finiteOrNull(line.t);
  const windowS = finiteOrNull(line.windowS);
  if (endS === null || endS < 0) throw new LineError("observation.t must be a number of seconds from 0 on");
  if (windowS === null || windowS <= 0) throw new LineError("observation.windowS must be above 0 seconds");
  const arrivals = record(line.arrivals);
  const prefill = record(line.prefill);
  const decode = record(line.decode);
  const queue = record(line.queue);
  const kv = record(line.kv);
  const lastSwitchS = finiteOrNull(line.lastSwitchT);
  const decoded = finiteOrNull(decode.tokens);
  const generated = decoded === null ? null : count(decoded) + count(prefill.firstTokens);
  const slo = readSlo(line.slo);
  const inForce = slo ?? hello.slo;
  const attain = record(line.attain);
  const ttft = readHistogram(prefill.ttftHist, prefill.ttft, hello, "prefill.ttftHist");
  const tpot = readHistogram(decode.tpotHist, decode.tpot, hello, "decode.tpotHist");
  // Answers of one token have no TPOT; with some among them, tpotOk counts others than the histogram does.
  const tpotOk = finiteOrNull(attain.finished) === sampleCount(tpot) ? finiteOrNull(attain.tpotOk) : null;
  return {
    idx: finiteOrNull(line.idx),
    endMs: milliseconds(endS),
    windowMs: milliseconds(windowS),
    slo,
    split: readAllocation(line.split),
    target: readAllocation(line.target),
    switchPending: line.switchPending === true,
    lastSwitchMs: lastSwitchS === null ? null : milliseconds(lastSwitchS),
    arrivals: count(arrivals.count),
    promptTokens: count(arrivals.promptTokens),
    finished: count(decode.finished),
    // What was generated in the window, by prefill and by decode; where that is not told, by those that finished.
    outputTokens: generated === null ? count(decode.outputTokensFinished) : generated,
    ttft: atBounds(splitBucket(ttft, inForce.ttft.boundMs, finiteOrNull(prefill.ttftOk)), inForce),
    tpot: atBounds(splitBucket(tpot, inForce.tpot.boundMs, tpotOk), inForce),
    prefillBusyShare: shareOrNull(prefill.busyFrac),
    decodeBusyShare: shareOrNull(decode.busyFrac),
    prefillWaiting: gauge(queue.prefillWaiting),
    decodeRunning: gauge(queue.decodeRunning),
    kvTotalTokens: gauge(kv.totalTokens),
    kvUsedTokens: gauge(kv.usedTokens),
    preemptions: gauge(kv.preemptions),
    work: readWork(line),
  };
}

/** The fields of an allocation that are there, over those of `base`. */
export function allocationFrom(fields: Partial<AllocationFields>, base: Allocation): Allocation {
  return {
    split: {
      prefillSmPct: fields.prefillSmPct ?? base.split.prefillSmPct,
      decodeSmPct: fields.decodeSmPct ?? base.split.decodeSmPct,
    },
    kvQuotaPct: fields.kvPrefillQuotaPct ?? base.kvQuotaPct,
  };
}

function readAllocation(value: unknown): Partial<AllocationFields> {
  const fields = record(value);
  const known = (key: keyof AllocationFields) => {
    const read = finiteOrNull(fields[key]);
    return read === null ? {} : { [key]: read };
  };
  return { ...known("prefillSmPct"), ...known("decodeSmPct"), ...known("kvPrefillQuotaPct") };
}

const HIGHEST_PERCENTILE = 0.999;

function readSlo(value: unknown): SloTarget | null {
  const slo = record(value);
  const ttftS = finiteOrNull(slo.ttftS);
  const tpotS = finiteOrNull(slo.tpotS);
  const asked = number(slo.percentile, 0.9);
  // Every request: no finite sample tells more than this, and a model of chance promises nobody all.
  const percentile = asked === 1 ? HIGHEST_PERCENTILE : asked;
  if (ttftS === null || tpotS === null || ttftS <= 0 || tpotS <= 0) return null;
  if (!(percentile > 0 && percentile < 1)) return null;
  return {
    ttft: { percentile, boundMs: 1000 * ttftS },
    tpot: { percentile, boundMs: 1000 * tpotS },
    attainmentShare: percentile,
  };
}

function readBounds(value: unknown): number[] {
  if (!Array.isArray(value)) throw new LineError("hello.histBoundsS must be a list of seconds");
  const bounds: number[] = [];
  for (const [i, bound] of value.entries()) {
    if (i > 0 && i === value.length - 1 && finiteOrNull(bound) === null) break;
    const ms = 1000 * number(bound, Number.NaN);
    if (!(ms >= 0) || !(ms > (bounds.at(-1) ?? -1))) {
      throw new LineError(`hello.histBoundsS[${i}] must be a number of seconds above the one before`);
    }
    bounds.push(ms);
  }
  if (bounds.length === 0) throw new LineError("hello.histBoundsS must hold at least one bound");
  return bounds;
}

/** Counts over the hello's bounds; null or empty means no samples. One count fewer means no overflow bucket. */
function readHistogram(value: unknown, statistics: unknown, hello: Hello, field: string): Histogram {
  const { boundsMs } = hello;
  const given: unknown[] = Array.isArray(value) ? value : [];
  // With an infinite last bound, which is left out, its own count may be followed by one more: both exceed the rest.
  if (given.length > 0 && (given.length < boundsMs.length || given.length > boundsMs.length + 2)) {
    throw new LineError(`${field} has ${given.length} counts for ${boundsMs.length} bounds`);
  }
  const counts = Array.from({ length: boundsMs.length + 1 }, (_, i) => count(given[i]));
  counts[boundsMs.length] = count(given[boundsMs.length]) + count(given[boundsMs.length + 1]);
  const total = counts.reduce((sum, n) => sum + n, 0);
  const meanS = finiteOrNull(record(statistics).mean);
  const sumMs = meanS === null || meanS < 0 ? 0 : 1000 * meanS * total;
  return { boundsMs, counts, sumMs };
}

function atBounds(histogram: Histogram, slo: SloTarget): Histogram {
  return coarsen(histogram, [slo.ttft.boundMs, slo.tpot.boundMs]);
}

/** Whole microseconds: 15.3 s must end where the window from 15.3 s starts, whatever binary makes of it. */
export function milliseconds(seconds: number): number {
  return Math.round(seconds * 1e6) / 1e3;
}

function record(value: unknown): Record<string, unknown> {
  return isRecord(value) ? value : {};
}

function number(value: unknown, otherwise: number): number {
  return finiteOrNull(value) ?? otherwise;
}

function count(value: unknown): number {
  return Math.max(0, Math.round(number(value, 0)));
}

/** A gauge that cannot be is one that is not told: it must not cost the window. */
function gauge(value: unknown): number | null {
  const read = finiteOrNull(value);
  return read === null || read < 0 ? null : read;
}

function shareOrNull(value: unknown): number | null {
  const share = finiteOrNull(value);
  return share === null ? null : Math.min(1, Math.max(0, share));
}
