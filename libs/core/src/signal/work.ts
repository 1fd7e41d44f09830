/** Folds what workers did in several windows into one account. */
import type { Window, WindowWork } from "../nouns.js";

/** Null when no window tells anything. Sums skip windows that do not say; gauges are the newest window's. */
export function foldWork(newestFirst: readonly Window[]): WindowWork | null {
  const telling = newestFirst.filter((window) => window.work !== undefined && window.work !== null);
  const newest = telling[0]?.work;
  if (newest === undefined || newest === null) return null;
  const sum = (pick: PickWork) => sumOf(telling, pick);
  const perTime = (pick: PickWork) => meanOf(telling, pick, (w) => w.durationMs);
  const perStep = (pick: PickWork) => meanOf(telling, pick, (w) => w.work?.decodeSteps ?? 0);
  return {
    promptTokensSq: sum((w) => w.promptTokensSq),
    maxPromptTokens: greatestOf(telling, (w) => w.maxPromptTokens),
    finishedOutputTokens: sum((w) => w.finishedOutputTokens),
    prefillBatches: sum((w) => w.prefillBatches),
    prefillTokens: sum((w) => w.prefillTokens),
    decodeSteps: sum((w) => w.decodeSteps),
    decodeStepMeanMs: perStep((w) => w.decodeStepMeanMs),
    decodeBatchMean: perStep((w) => w.decodeBatchMean),
    decodeContextMean: perStep((w) => w.decodeContextMean),
    overlapShare: perTime((w) => w.overlapShare),
    prefillGpuShare: perTime((w) => w.prefillGpuShare),
    decodeGpuShare: perTime((w) => w.decodeGpuShare),
    prefillWaitingTokens: newest.prefillWaitingTokens,
    oldestWaitMs: newest.oldestWaitMs,
    decodeWaiting: newest.decodeWaiting,
    maxSequences: newest.maxSequences,
    maxBatchTokens: newest.maxBatchTokens,
  };
}

type PickWork = (work: WindowWork) => number | null;

function sumOf(windows: readonly Window[], pick: PickWork): number | null {
  let sum: number | null = null;
  for (const { work } of windows) {
    const value = work ? pick(work) : null;
    if (value !== null) sum = (sum ?? 0) + value;
  }
  return sum;
}

function greatestOf(windows: readonly Window[], pick: PickWork): number | null {
  let greatest: number | null = null;
  for (const { work } of windows) {
    const value = work ? pick(work) : null;
    if (value !== null) greatest = Math.max(greatest ?? value, value);
  }
  return greatest;
}

function meanOf(
  windows: readonly Window[],
  pick: PickWork,
  weigh: (window: Window) => number,
): number | null {
  let weighted = 0;
  let total = 0;
  for (const window of windows) {
    const value = window.work ? pick(window.work) : null;
    const weight = value === null ? 0 : weigh(window);
    if (value === null || !(weight > 0)) continue;
    weighted += value * weight;
    total += weight;
  }
  return total > 0 ? weighted / total : null;
}
