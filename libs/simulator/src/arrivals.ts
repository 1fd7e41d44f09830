import type { SimRequest } from "./job.js";
import { createRandom } from "./random.js";

/** Prompt and output of one request, whatever its time. */
export interface Lengths {
  readonly promptTokens: number;
  readonly outputTokens: number;
}

/** A recorded request; atMs counts from the first one. */
export interface TracedRequest extends Lengths {
  readonly atMs: number;
}

export interface ReplayOptions {
  /** Time-stretch t' = t / rateScale: keeps order, burstiness and correlations, shortens slow drifts. */
  readonly rateScale: number;
  /** Where in the trace engine time 0 lies, before stretching. */
  readonly startMs: number;
  /** Begin again one mean gap after the last request, or end. */
  readonly repeat: boolean;
}

/** Replays recorded requests in order. Nothing comes when none lies at or after `startMs`, unless it repeats. */
export function* replayArrivals(
  trace: readonly TracedRequest[],
  options: ReplayOptions,
): Generator<SimRequest> {
  const lastMs = trace.at(-1)?.atMs ?? 0;
  if (trace.length === 0) return;
  // A trace that fits in one instant would repeat without end at that instant: at least 1 ms a lap.
  const lapMs = Math.max(1, lastMs + lastMs / Math.max(1, trace.length - 1));
  let id = 0;
  for (let lap = 0; lap === 0 || options.repeat; lap += 1) {
    for (const { atMs, promptTokens, outputTokens } of trace) {
      const traceMs = lap * lapMs + atMs - options.startMs;
      if (traceMs < 0) continue;
      yield { id, arrivalMs: traceMs / options.rateScale, promptTokens, outputTokens };
      id += 1;
    }
  }
}

/** Endless Poisson arrivals at a constant rate, with rows drawn whole so that both lengths stay joined. */
export function* poissonArrivals(
  rows: readonly Lengths[],
  ratePerS: number,
  seed: number,
): Generator<SimRequest> {
  const times = createRandom(seed, 0);
  const lengths = createRandom(seed, 1);
  let arrivalMs = 0;
  for (let id = 0; rows.length > 0; id += 1) {
    arrivalMs += times.exponential(1000 / ratePerS);
    const row = rows[Math.floor(lengths.uniform() * rows.length)];
    if (row !== undefined)
      yield { id, arrivalMs, promptTokens: row.promptTokens, outputTokens: row.outputTokens };
  }
}

/** What became of a trace's rows on their way to requests. */
export interface FittedTrace<T> {
  readonly rows: readonly T[];
  /** Prompt and output together exceed the model's window. */
  readonly droppedTooLong: number;
  /** An answer of no token is not a request that an engine serves. */
  readonly droppedEmpty: number;
  readonly truncated: number;
}

/**
 * Fits rows to a model's window: cuts prompts at `maxPromptTokens`, then drops rows whose prompt and output
 * together exceed `maxContextTokens`, and rows with a prompt or output of 0.
 */
export function fitToContext<T extends Lengths>(
  rows: readonly T[],
  maxContextTokens: number,
  maxPromptTokens: number,
): FittedTrace<T> {
  const kept: T[] = [];
  let droppedTooLong = 0;
  let droppedEmpty = 0;
  let truncated = 0;
  for (const row of rows) {
    const promptTokens = Math.min(row.promptTokens, maxPromptTokens);
    if (promptTokens < 1 || row.outputTokens < 1) droppedEmpty += 1;
    else if (promptTokens + row.outputTokens > maxContextTokens) droppedTooLong += 1;
    else {
      if (promptTokens < row.promptTokens) truncated += 1;
      kept.push({ ...row, promptTokens });
    }
  }
  return { rows: kept, droppedTooLong, droppedEmpty, truncated };
}
