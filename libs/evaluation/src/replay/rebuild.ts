/**
 * Requests made again from recorded windows, which tell how many arrived, how many prompt tokens they brought and how
 * those were spread, and how long the answers were that finished; not which request came when.
 */
import type { Window } from "@fulcrum/core/nouns.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import { createRandom, type Random } from "@fulcrum/simulator/random.js";

/** A window on the engine's own clock, which starts with the first one: an engine may run faster than the wall. */
export interface PlacedWindow {
  readonly window: Window;
  readonly fromMs: number;
  readonly toMs: number;
}

/** In order of their sequence numbers, each once. Where windows are missing the engine's clock goes on as the wall's does. */
export function placed(windows: readonly Window[]): readonly PlacedWindow[] {
  const once = new Map(windows.map((window) => [window.seq, window]));
  const ordered = [...once.values()].sort((a, b) => a.seq - b.seq);
  const speed = speedOf(ordered);
  const found: PlacedWindow[] = [];
  let clockMs = 0;
  for (const [i, window] of ordered.entries()) {
    const before = ordered[i - 1];
    if (before) clockMs += Math.max(0, window.startAtMs - before.endAtMs) * speed;
    found.push({ window, fromMs: clockMs, toMs: clockMs + window.durationMs });
    clockMs += window.durationMs;
  }
  return found;
}

/** Engine milliseconds per millisecond; 1 without windows. */
export function speedOf(windows: readonly Window[]): number {
  const engineMs = windows.reduce((sum, { durationMs }) => sum + durationMs, 0);
  const wallMs = windows.reduce((sum, { startAtMs, endAtMs }) => sum + endAtMs - startAtMs, 0);
  return wallMs > 0 ? engineMs / wallMs : 1;
}

/** Answers are as long as those that finish within so long of an arrival. */
const ANSWER_AHEAD_MS = 60_000;

/** The same windows and seed give the same requests, ids from 0, in order of arrival. */
export function rebuiltRequests(windows: readonly PlacedWindow[], seed: number): readonly SimRequest[] {
  const times = createRandom(seed, 0);
  const prompts = createRandom(seed, 1);
  const answers = createRandom(seed, 2);
  const meanAnswer = answerMeans(windows);
  const found: SimRequest[] = [];
  for (const [i, { window, fromMs, toMs }] of windows.entries()) {
    const lengths = promptLengths(window, prompts);
    const mean = meanAnswer[i] ?? 1;
    for (const promptTokens of lengths) {
      const arrivalMs = fromMs + (toMs - fromMs) * times.uniform();
      const outputTokens = Math.max(1, Math.round(answers.exponential(mean)));
      found.push({ id: 0, arrivalMs, promptTokens, outputTokens });
    }
  }
  found.sort((a, b) => a.arrivalMs - b.arrivalMs);
  return found.map((request, id) => ({ ...request, id }));
}

/**
 * Lengths whose number and sum are the window's, spread as log-normal lengths of the same mean and variance are; all alike
 * where the engine does not tell the sum of squares. None is longer than the longest that arrived.
 */
function promptLengths(window: Window, random: Random): number[] {
  const { arrivals, promptTokens, work } = window;
  if (arrivals === 0) return [];
  const mean = promptTokens / arrivals;
  if (!(mean > 0)) return Array.from({ length: arrivals }, () => 1);
  const squares = work?.promptTokensSq ?? null;
  const variance = squares === null ? 0 : Math.max(0, squares / arrivals - mean ** 2);
  const sigma = Math.sqrt(Math.log(1 + variance / mean ** 2));
  const drawn = Array.from({ length: arrivals }, () => Math.exp(sigma * normal(random)));
  const scale = promptTokens / drawn.reduce((sum, each) => sum + each, 0);
  const most = work?.maxPromptTokens ?? Infinity;
  return drawn.map((each) => Math.max(1, Math.min(most, Math.round(each * scale))));
}

/** Box and Muller's. */
function normal(random: Random): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random.uniform()));
  return radius * Math.cos(2 * Math.PI * random.uniform());
}

/** For each window the mean answer of what finished from there on; of all where nothing did. */
function answerMeans(windows: readonly PlacedWindow[]): number[] {
  const tokensOf = ({ window }: PlacedWindow) => window.work?.finishedOutputTokens ?? window.outputTokens;
  const overall = meanOf(windows, tokensOf) ?? 1;
  let until = 0;
  let tokens = 0;
  let finished = 0;
  return windows.map((from, i) => {
    while (until < windows.length && (windows[until]?.fromMs ?? 0) < from.fromMs + ANSWER_AHEAD_MS) {
      tokens += tokensOf(windows[until]!);
      finished += windows[until]!.window.finished;
      until += 1;
    }
    const mean = finished > 0 ? tokens / finished : overall;
    tokens -= tokensOf(windows[i]!);
    finished -= from.window.finished;
    return Math.max(1, mean);
  });
}

function meanOf(windows: readonly PlacedWindow[], tokensOf: (placed: PlacedWindow) => number): number | null {
  const finished = windows.reduce((sum, { window }) => sum + window.finished, 0);
  return finished > 0 ? windows.reduce((sum, each) => sum + tokensOf(each), 0) / finished : null;
}
