/**
 * Whether decide() can work with what it was given. A snapshot comes from rows and wires, so every number is
 * looked at before it is used; what fails is held, and named.
 */
import type { Snapshot } from "../decision.js";
import { MAX_RECENT_MOVES, SEARCH_PARTS } from "../decision.js";
import {
  HUGE,
  LAST_INSTANT_MS,
  firstFault,
  gaugeFault,
  isFinite,
  isRecord,
  rangeFault,
  shapeFault,
  wholeFault,
} from "../signal/fault.js";
import type { Fault } from "../signal/fault.js";
import { classesFault } from "../signal/classes.js";
import { histogramFault } from "../signal/histogram.js";
import { MAX_BUSY_SHARE, MAX_CLOCK_AHEAD_MS, MIN_WINDOW_MS } from "../signal/window.js";
import type { Histogram, Limits } from "../nouns.js";
import { MAX_SLO_CLASSES } from "../nouns.js";
import { lowestCap } from "./grid.js";

const MOST = Number.MAX_SAFE_INTEGER;

/** Finest granularity: a tenth of a point is less than a seventh of one SM of 132. */
const LEAST_GRANULARITY_PCT = 0.1;

/** Everything in a snapshot but its signal, the guards and the clock. */
export function contextFault(snapshot: unknown, guards: unknown, nowMs: unknown): Fault | null {
  if (!isRecord(snapshot)) return shapeFault("snapshot", "an object");
  return (
    rangeFault("nowMs", nowMs, 0, LAST_INSTANT_MS) ??
    allocationFault("current", snapshot.current) ??
    generationFault(snapshot.current) ??
    limitsFault(snapshot.limits) ??
    rangeFault("downtimeMs", snapshot.downtimeMs ?? 0, 0, HUGE) ??
    sloFault(snapshot.slo) ??
    holdFault(snapshot.hold) ??
    gaugeFault("rolloutGeneration", snapshot.rolloutGeneration ?? null, 0, MOST) ??
    changeFault(snapshot.lastChangeAtMs ?? null, nowMs) ??
    movesFault(snapshot.recentMoves) ??
    guardsFault(guards)
  );
}

export function allocationFault(field: string, value: unknown): Fault | null {
  if (!isRecord(value) || !isRecord(value.split)) return shapeFault(field, "an allocation");
  return firstFault(
    rangeFault(`${field}.split.prefillSmPct`, value.split.prefillSmPct, 0, 100),
    rangeFault(`${field}.split.decodeSmPct`, value.split.decodeSmPct, 0, 100),
    rangeFault(`${field}.kvQuotaPct`, value.kvQuotaPct, 0, 100),
  );
}

function generationFault(current: unknown): Fault | null {
  return isRecord(current) ? wholeFault("current.generation", current.generation, 0, MOST) : null;
}

/** Limits must leave at least one split that can be delivered. */
export function limitsFault(value: unknown): Fault | null {
  if (!isRecord(value)) return shapeFault("limits", "an object");
  const fault = firstFault(
    rangeFault("limits.minSmPct", value.minSmPct, 0, 100),
    rangeFault("limits.maxSmPct", value.maxSmPct, 1, 100),
    rangeFault("limits.maxSumPct", value.maxSumPct, 2, 200),
    rangeFault("limits.granularityPct", value.granularityPct, LEAST_GRANULARITY_PCT, 50),
    rangeFault("limits.minKvQuotaPct", value.minKvQuotaPct, 0, 100),
    rangeFault("limits.maxKvQuotaPct", value.maxKvQuotaPct, 0, 100),
  );
  if (fault !== null) return fault;
  const limits = value as unknown as Limits;
  const low = lowestCap(limits);
  if (low === null || limits.minSmPct > limits.maxSmPct) {
    const bound = `low enough for a multiple of ${limits.granularityPct} up to maxSmPct ${limits.maxSmPct}`;
    return { field: "limits.minSmPct", bound, value: limits.minSmPct };
  }
  if (2 * low > limits.maxSumPct) {
    const bound = `at least ${2 * low}, twice the lowest cap that can be delivered`;
    return { field: "limits.maxSumPct", bound, value: limits.maxSumPct };
  }
  if (limits.minKvQuotaPct > limits.maxKvQuotaPct) {
    const bound = `at most maxKvQuotaPct ${limits.maxKvQuotaPct}`;
    return { field: "limits.minKvQuotaPct", bound, value: limits.minKvQuotaPct };
  }
  return null;
}

function sloFault(value: unknown): Fault | null {
  const fault = promiseFault("slo", value);
  if (fault !== null || !isRecord(value) || value.classes === undefined) return fault;
  const { classes, attainmentShare } = value;
  if (!Array.isArray(classes) || classes.length > MAX_SLO_CLASSES) {
    return shapeFault("slo.classes", `a list of at most ${MAX_SLO_CLASSES} promises`);
  }
  const names = new Set<string>();
  for (const [i, each] of (classes as unknown[]).entries()) {
    const field = `slo.classes[${i}]`;
    if (!isRecord(each) || typeof each.name !== "string" || names.has(each.name)) {
      return shapeFault(field, "a promise with a name of its own");
    }
    names.add(each.name);
    const found = promiseFault(field, each) ?? keptFault(field, each.attainmentShare);
    if (found !== null) return found;
  }
  return classes.length > 0 ? keptFault("slo", attainmentShare) : null;
}

/** By what it is divided by where promises stand in order. */
function keptFault(field: string, attainmentShare: unknown): Fault | null {
  return rangeFault(`${field}.attainmentShare`, attainmentShare, 0.001, 1);
}

function promiseFault(field: string, value: unknown): Fault | null {
  if (!isRecord(value) || !isRecord(value.ttft) || !isRecord(value.tpot))
    return shapeFault(field, "two targets");
  return firstFault(
    rangeFault(`${field}.ttft.percentile`, value.ttft.percentile, 0.01, 0.9999),
    rangeFault(`${field}.ttft.boundMs`, value.ttft.boundMs, 0.001, HUGE),
    rangeFault(`${field}.tpot.percentile`, value.tpot.percentile, 0.01, 0.9999),
    rangeFault(`${field}.tpot.boundMs`, value.tpot.boundMs, 0.001, HUGE),
  );
}

function holdFault(value: unknown): Fault | null {
  if (!isRecord(value) || typeof value.frozen !== "boolean") return shapeFault("hold", "an operator hold");
  const { pinned, frozenBy } = value;
  if (frozenBy !== undefined) {
    const fault = originFault("hold.frozenBy", frozenBy) ?? untilFault("hold.frozenBy", frozenBy);
    if (fault !== null) return fault;
  }
  if (pinned === null || pinned === undefined) return null;
  if (!isRecord(pinned)) return shapeFault("hold.pinned", "null or an object");
  return (
    untilFault("hold.pinned", pinned) ??
    (pinned.by === undefined ? null : originFault("hold.pinned.by", pinned.by))
  );
}

function untilFault(field: string, value: unknown): Fault | null {
  const untilAtMs = isRecord(value) ? (value.untilAtMs ?? null) : null;
  return gaugeFault(`${field}.untilAtMs`, untilAtMs, 0, LAST_INSTANT_MS);
}

const HOLD_KINDS = new Set<unknown>(["pause", "pin", "override", "freeze_window"]);

function originFault(field: string, value: unknown): Fault | null {
  const known = isRecord(value) && HOLD_KINDS.has(value.kind) ? value : null;
  const told = [known?.scope, known?.actor, known?.reason].every((part) => typeof part === "string");
  return told ? null : shapeFault(field, "a kind of hold with scope, actor and reason");
}

/** A change in the future means that a clock jumped: dwell and freshness could not be told. */
function changeFault(lastChangeAtMs: unknown, nowMs: unknown): Fault | null {
  const latest = Math.min(LAST_INSTANT_MS, Number(nowMs) + MAX_CLOCK_AHEAD_MS);
  return gaugeFault("lastChangeAtMs", lastChangeAtMs, 0, latest);
}

function movesFault(value: unknown): Fault | null {
  if (!Array.isArray(value) || value.length > MAX_RECENT_MOVES) {
    return shapeFault("recentMoves", `a list of at most ${MAX_RECENT_MOVES} moves`);
  }
  for (let i = 0; i < value.length; i++) {
    const move: unknown = value[i];
    if (!isRecord(move)) return shapeFault(`recentMoves[${i}]`, "a move");
    const fault = firstFault(
      rangeFault(`recentMoves[${i}].atMs`, move.atMs, 0, LAST_INSTANT_MS),
      rangeFault(`recentMoves[${i}].prefillDeltaPct`, move.prefillDeltaPct, -100, 100),
      rangeFault(`recentMoves[${i}].decodeDeltaPct`, move.decodeDeltaPct, -100, 100),
    );
    if (fault !== null) return fault;
  }
  return null;
}

/** Guards that guard: a NaN in a comparison would let everything through. */
export function guardsFault(value: unknown): Fault | null {
  if (!isRecord(value)) return shapeFault("guards", "an object");
  return firstFault(
    rangeFault("guards.maxStepPct", value.maxStepPct, 0, 100),
    rangeFault("guards.dwellMs", value.dwellMs, 0, HUGE),
    wholeFault("guards.flapBudget", value.flapBudget, 0, MAX_RECENT_MOVES),
    rangeFault("guards.flapWindowMs", value.flapWindowMs, 0, HUGE),
    rangeFault("guards.minSamples", value.minSamples, 0, HUGE),
    rangeFault("guards.staleAfterMs", value.staleAfterMs, 0, HUGE),
    rangeFault("guards.stabilityMargin", value.stabilityMargin, 0, 100),
  );
}

export function policyFault(value: unknown): Fault | null {
  if (!isRecord(value) || !isRecord(value.params))
    return shapeFault("policy", "a policy with its parameters");
  const { name, params } = value;
  if (name === "static") return allocationFault("policy.params.allocation", params.allocation);
  if (name === "search") return searchFault(params);
  if (name === "semi-pd") return semiPdFault(params);
  if (name !== "feedback") return shapeFault("policy.name", "static, feedback, semi-pd or search");
  if (params.bothMissed !== "hold" && params.bothMissed !== "open" && params.bothMissed !== "worst-first") {
    return shapeFault("policy.params.bothMissed", "hold, open or worst-first");
  }
  if (typeof params.moveKvQuota !== "boolean") {
    return shapeFault("policy.params.moveKvQuota", "true or false");
  }
  return firstFault(
    rangeFault("policy.params.stepPct", params.stepPct, 0.1, 50),
    wholeFault("policy.params.maxSteps", params.maxSteps, 1, 50),
    rangeFault("policy.params.floorPct", params.floorPct, 0, 100),
    rangeFault("policy.params.minBenefitShare", params.minBenefitShare, 0, 1),
  );
}

function searchFault(params: Readonly<Record<string, unknown>>): Fault | null {
  if (typeof params.moveKvQuota !== "boolean") {
    return shapeFault("policy.params.moveKvQuota", "true or false");
  }
  const { prior, without } = params;
  if (without !== undefined && !isListOfParts(without)) {
    return shapeFault("policy.params.without", `a list of ${SEARCH_PARTS.join(", ")}`);
  }
  return (
    rangeFault("policy.params.minGainShare", params.minGainShare, 0, 1) ??
    (prior === null ? null : priorFault(prior))
  );
}

function isListOfParts(value: unknown): boolean {
  const parts: readonly unknown[] = SEARCH_PARTS;
  return Array.isArray(value) && value.every((part) => parts.includes(part));
}

function priorFault(prior: unknown): Fault | null {
  if (!isRecord(prior)) return shapeFault("policy.params.prior", "null or step times of both phases");
  for (const phase of ["prefill", "decode"]) {
    const field = `policy.params.prior.${phase}`;
    const costs = prior[phase];
    if (!isRecord(costs) || !Array.isArray(costs.kernelMs) || costs.kernelMs.length !== 3) {
      return shapeFault(field, "kernelMs of three numbers, engineMs and sensitivity");
    }
    const [constMs, firstMs, secondMs] = costs.kernelMs as unknown[];
    const fault = firstFault(
      rangeFault(`${field}.kernelMs[0]`, constMs, 0.001, 1e4),
      rangeFault(`${field}.kernelMs[1]`, firstMs, 0, 1e3),
      rangeFault(`${field}.kernelMs[2]`, secondMs, 0, 1),
      rangeFault(`${field}.engineMs`, costs.engineMs, 0, 1e4),
      rangeFault(`${field}.sensitivity`, costs.sensitivity, 0.02, 1.2),
      costs.growth === undefined ? null : growthFault(`${field}.growth`, costs.growth),
    );
    if (fault !== null) return fault;
  }
  return null;
}

const GREATEST_ITERATION = 1e6;

function growthFault(field: string, growth: unknown): Fault | null {
  if (!isRecord(growth)) return shapeFault(field, "small, large and gain");
  const { small, large, gain } = growth;
  return firstFault(
    rangeFault(`${field}.small`, small, 1, GREATEST_ITERATION),
    rangeFault(`${field}.large`, large, 1, GREATEST_ITERATION),
    isFinite(small) && isFinite(large) && large <= small
      ? { field: `${field}.large`, bound: `above ${field}.small, which is ${small}`, value: large }
      : null,
    rangeFault(`${field}.gain`, gain, -1.2, 1.2),
  );
}

function semiPdFault(params: Readonly<Record<string, unknown>>): Fault | null {
  return firstFault(
    wholeFault("policy.params.requestsPerDecision", params.requestsPerDecision, 1, 1e6),
    rangeFault("policy.params.stepPct", params.stepPct, 0.1, 50),
    wholeFault("policy.params.maxSteps", params.maxSteps, 1, 50),
    rangeFault("policy.params.floorPct", params.floorPct, 0, 100),
    rangeFault("policy.params.tpotMargin", params.tpotMargin, 1, 10),
  );
}

/** Null when the signal can be believed: only then may anything be measured or learnt from it. */
export function signalFault(value: unknown, nowMs: number): Fault | null {
  if (!isRecord(value)) return shapeFault("signal", "an object");
  const { queue, kv, busy, freshness } = value;
  if (!isRecord(queue) || !isRecord(kv) || !isRecord(busy)) return shapeFault("signal", "gauges and counts");
  if (freshness !== "fresh" && freshness !== "thin" && freshness !== "stale" && freshness !== "missing") {
    return shapeFault("signal.freshness", "fresh, thin, stale or missing");
  }
  return firstFault(
    // An empty signal covers nothing.
    value.durationMs === 0 ? null : rangeFault("signal.durationMs", value.durationMs, MIN_WINDOW_MS, HUGE),
    wholeFault("signal.arrivals", value.arrivals, 0, HUGE),
    wholeFault("signal.finished", value.finished, 0, HUGE),
    wholeFault("signal.promptTokens", value.promptTokens, 0, HUGE),
    wholeFault("signal.outputTokens", value.outputTokens, 0, HUGE),
    gaugeFault("signal.fromAtMs", value.fromAtMs, 0, LAST_INSTANT_MS),
    gaugeFault("signal.toAtMs", value.toAtMs, 0, nowMs + MAX_CLOCK_AHEAD_MS),
    value.ttft === null ? null : histogramFault("signal.ttft", value.ttft),
    value.tpot === null ? null : histogramFault("signal.tpot", value.tpot),
    gaugeFault("signal.busy.prefillShare", busy.prefillShare, 0, MAX_BUSY_SHARE),
    gaugeFault("signal.busy.decodeShare", busy.decodeShare, 0, MAX_BUSY_SHARE),
    gaugeFault("signal.queue.prefillWaiting", queue.prefillWaiting, 0, HUGE),
    gaugeFault("signal.queue.decodeRunning", queue.decodeRunning, 0, HUGE),
    gaugeFault("signal.kv.totalTokens", kv.totalTokens, 0, HUGE),
    gaugeFault("signal.kv.usedTokens", kv.usedTokens, 0, HUGE),
    gaugeFault("signal.kv.preemptions", kv.preemptions, 0, HUGE),
    classesFault(
      "signal.classes",
      value.classes,
      value as { ttft: Histogram | null; tpot: Histogram | null },
    ),
  );
}

/** Null when there is no latest signal, or it can be believed. */
export function latestFault(snapshot: Snapshot, nowMs: number): Fault | null {
  const { latest } = snapshot;
  if (latest === null || latest === undefined) return null;
  const fault = signalFault(latest, nowMs) ?? workFault(latest.work ?? null);
  return fault ?? gaugeFault("latest.generation", latest.generation, 0, MOST);
}

/** Sums of squares pass HUGE for long prompts: 1e6 requests of 1e6 tokens. */
const GREATEST_WORK = 1e18;

function workFault(work: unknown): Fault | null {
  if (work === null) return null;
  if (!isRecord(work)) return shapeFault("latest.work", "null or an object");
  for (const [field, value] of Object.entries(work)) {
    const fault = gaugeFault(`latest.work.${field}`, value, 0, GREATEST_WORK);
    if (fault !== null) return fault;
  }
  return null;
}
