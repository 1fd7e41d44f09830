/**
 * Folds windows of one instance into one Signal.
 *
 * Which windows count: those that can be believed, ended within the lookback, started at or after the last
 * change, and ran wholly at the current generation. A window of another generation, or of a moment between
 * two, says nothing about the current split (paper.md §4.1, fault 10).
 *
 * They are taken newest first until both histograms hold ENOUGH_FACTOR times `minSamples`, or the lookback
 * ends: a busy instance is judged by its last seconds, a quiet one by its last minutes.
 */
import type { GuardConfig, Freshness, LatestSignal, Signal } from "../decision.js";
import type { Histogram, Window } from "../nouns.js";
import { addHistograms, sameBounds, sampleCount } from "./histogram.js";
import { checkWindow } from "./window.js";
import { foldClasses } from "./classes.js";
import { foldWork } from "./work.js";

/** 8 x 30 samples put about 24 above a p90: a standard error of 2 points of rank. */
export const ENOUGH_FACTOR = 8;

/** Most windows that are folded into one signal, and most that are looked at. */
export const MAX_FOLDED_WINDOWS = 512;
export const MAX_SCANNED_WINDOWS = 4_096;

export interface SummariseOptions {
  /** Windows that started before are left out: when the last change came into force; null when there was none. */
  readonly sinceMs: number | null;
  readonly currentGeneration: number;
  /** Windows that ended earlier than this before `nowMs` are left out. */
  readonly lookbackMs: number;
  readonly guards: Pick<GuardConfig, "minSamples" | "staleAfterMs">;
}

/** The signal of one instance at `nowMs`. Order, gaps, overlaps and repeats of the windows do not matter. */
export function summarise(windows: readonly Window[], options: SummariseOptions, nowMs: number): Signal {
  const recent = believable(windows, nowMs - options.lookbackMs, nowMs);
  const newest = recent.next();
  if (newest.done === true) return emptySignal("missing");
  const newestOfAll = newest.value;

  const since = options.sinceMs ?? -Infinity;
  const counts = (w: Window) => w.generation === options.currentGeneration && w.startAtMs >= since;
  function* usable(): Generator<Window> {
    if (counts(newestOfAll)) yield newestOfAll;
    for (const window of recent) if (counts(window)) yield window;
  }
  const signal = fold(takeEnough(usable(), options.guards.minSamples * ENOUGH_FACTOR));
  if (nowMs - newestOfAll.endAtMs > options.guards.staleAfterMs) return { ...signal, freshness: "stale" };

  const thin =
    signal.ttft === null ||
    signal.tpot === null ||
    sampleCount(signal.ttft) < options.guards.minSamples ||
    sampleCount(signal.tpot) < options.guards.minSamples;
  return { ...signal, freshness: thin ? "thin" : "fresh" };
}

/**
 * The windows that started at or after `afterMs`, whatever generation they ran at; null when there is none. For a
 * policy that learns from every window once, `afterMs` is the end of the last one that it has learnt from.
 */
export function latestSignal(
  windows: readonly Window[],
  afterMs: number,
  options: Pick<SummariseOptions, "lookbackMs">,
  nowMs: number,
): LatestSignal | null {
  const later = windows.filter((w) => w.endAtMs > afterMs && w.startAtMs >= afterMs - CLOCK_SLACK_MS);
  const folded = takeEnough(believable(later, nowMs - options.lookbackMs, nowMs), Infinity);
  const newest = folded[0];
  if (newest === undefined) return null;
  const generation = folded.every((w) => w.generation === newest.generation) ? newest.generation : null;
  return { ...fold(folded), freshness: "fresh", generation };
}

/** Windows of one agent abut; a start this much before the end of the one before is rounding. */
const CLOCK_SLACK_MS = 1;

export function emptySignal(freshness: Freshness): Signal {
  return {
    freshness,
    windows: 0,
    fromAtMs: null,
    toAtMs: null,
    durationMs: 0,
    arrivals: 0,
    promptTokens: 0,
    finished: 0,
    outputTokens: 0,
    ttft: null,
    tpot: null,
    busy: { prefillShare: null, decodeShare: null },
    queue: { prefillWaiting: null, decodeRunning: null },
    kv: { totalTokens: null, usedTokens: null, preemptions: null },
  };
}

/**
 * Believable windows that ended at or after `fromMs`, each sequence number once, newest first. A window is looked
 * at only when it is asked for: of two minutes of one-second windows a busy instance needs a few.
 */
function* believable(windows: readonly Window[], fromMs: number, nowMs: number): Generator<Window, void> {
  const seen = new Set<number>();
  const newestFirst = windows
    .filter((window) => window.endAtMs >= fromMs)
    .sort((a, b) => b.endAtMs - a.endAtMs || b.seq - a.seq);
  for (const window of newestFirst.slice(0, MAX_SCANNED_WINDOWS)) {
    if (seen.has(window.seq) || checkWindow(window, nowMs) !== null) continue;
    seen.add(window.seq);
    yield window;
  }
}

function takeEnough(newestFirst: Iterable<Window>, enough: number): Window[] {
  let newest: Window | null = null;
  const taken: Window[] = [];
  let ttftSamples = 0;
  let tpotSamples = 0;
  for (const window of newestFirst) {
    newest ??= window;
    // An engine that came back with other buckets: only the new ones can be added up.
    if (!sameBounds(window.ttft, newest.ttft) || !sameBounds(window.tpot, newest.tpot)) continue;
    taken.push(window);
    ttftSamples += sampleCount(window.ttft);
    tpotSamples += sampleCount(window.tpot);
    if ((ttftSamples >= enough && tpotSamples >= enough) || taken.length >= MAX_FOLDED_WINDOWS) break;
  }
  return taken;
}

function fold(newestFirst: readonly Window[]): Signal {
  const newest = newestFirst[0];
  if (newest === undefined) return emptySignal("thin");
  const total = (pick: (w: Window) => number) => newestFirst.reduce((sum, w) => sum + pick(w), 0);
  const sumHistograms = (pick: (w: Window) => Histogram) => newestFirst.map(pick).reduce(addHistograms);
  return {
    freshness: "thin",
    windows: newestFirst.length,
    fromAtMs: newestFirst.reduce((at, w) => Math.min(at, w.startAtMs), newest.startAtMs),
    toAtMs: newest.endAtMs,
    durationMs: total((w) => w.durationMs),
    arrivals: total((w) => w.arrivals),
    promptTokens: total((w) => w.promptTokens),
    finished: total((w) => w.finished),
    outputTokens: total((w) => w.outputTokens),
    ttft: sumHistograms((w) => w.ttft),
    tpot: sumHistograms((w) => w.tpot),
    busy: {
      prefillShare: timeMean(newestFirst, (w) => w.busy.prefillShare),
      decodeShare: timeMean(newestFirst, (w) => w.busy.decodeShare),
    },
    queue: newest.queue,
    work: foldWork(newestFirst),
    ...foldClasses(newestFirst),
    kv: {
      totalTokens: newest.kv.totalTokens,
      usedTokens: newest.kv.usedTokens,
      preemptions: sumOrNull(newestFirst, (w) => w.kv.preemptions),
    },
  };
}

/** Mean weighted by engine time over the windows that say; null when none does. */
function timeMean(windows: readonly Window[], pick: (w: Window) => number | null): number | null {
  let weighted = 0;
  let durationMs = 0;
  for (const window of windows) {
    const value = pick(window);
    if (value === null) continue;
    weighted += value * window.durationMs;
    durationMs += window.durationMs;
  }
  return durationMs > 0 ? weighted / durationMs : null;
}

function sumOrNull(windows: readonly Window[], pick: (w: Window) => number | null): number | null {
  let sum: number | null = null;
  for (const window of windows) {
    const value = pick(window);
    if (value !== null) sum = (sum ?? 0) + value;
  }
  return sum;
}
