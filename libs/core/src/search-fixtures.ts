/** Loads, and a small engine that serves them, to test the search policy with: it tells what its workers did. */
import type { LatestSignal } from "./decision.js";
import { SAMPLE_BOUNDS_MS, SAMPLE_NOW_MS, sampleSignal } from "./fixtures.js";
import type { Histogram, SloTarget, Split, Window, WindowWork } from "./nouns.js";
import { emptyHistogram } from "./signal/histogram.js";

/** mulberry32: small, seeded, uniform in [0, 1). */
export function uniformOf(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Lognormal with this mean and coefficient of variation. */
export function lognormal(uniform: () => number, mean: number, cv: number): number {
  const variance = Math.log(1 + cv * cv);
  const normal = Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return mean * Math.exp(Math.sqrt(variance) * normal - variance / 2);
}

export interface Load {
  readonly ratePerS: number;
  /** Mean lengths and their coefficients of variation. */
  readonly promptTokens: number;
  readonly promptCv: number;
  readonly answerTokens: number;
  readonly answerCv: number;
}

/** Long prompts, more than prefill can serve on the two thirds of the GPU that (100,100) leaves it beside decode. */
export const LONG_PROMPTS: Load = {
  ratePerS: 2.3,
  promptTokens: 2500,
  promptCv: 0.3,
  answerTokens: 100,
  answerCv: 0.7,
};

/** What every split that starves no phase serves. */
export const LIGHT_CHAT: Load = {
  ratePerS: 2,
  promptTokens: 150,
  promptCv: 1,
  answerTokens: 150,
  answerCv: 0.7,
};

export const SCENE_SLO: SloTarget = {
  ttft: { percentile: 0.9, boundMs: 2_000 },
  tpot: { percentile: 0.9, boundMs: 150 },
  attainmentShare: 0.9,
};

/** What every engine may leave out. */
export const NO_WORK: WindowWork = {
  promptTokensSq: null,
  maxPromptTokens: null,
  finishedOutputTokens: null,
  prefillBatches: null,
  prefillTokens: null,
  decodeSteps: null,
  decodeStepMeanMs: null,
  decodeBatchMean: null,
  decodeContextMean: null,
  overlapShare: null,
  prefillGpuShare: null,
  decodeGpuShare: null,
  prefillWaitingTokens: null,
  oldestWaitMs: null,
  decodeWaiting: null,
  maxSequences: null,
  maxBatchTokens: null,
};

/** A signal of one window that ran wholly at generation 1. */
export function latestOf(over: Partial<LatestSignal> = {}): LatestSignal {
  return { ...sampleSignal({ windows: 1, fromAtMs: SAMPLE_NOW_MS - 20_000 }), generation: 1, ...over };
}

interface Request {
  readonly arrivedMs: number;
  readonly promptTokens: number;
  readonly answerTokens: number;
  /** Milliseconds of prefill at a whole GPU, and tokens of the answer, that are left. */
  prefillMs: number;
  tokens: number;
  firstTokenMs: number;
}

const STEP_MS = 20;

/**
 * An engine in steps of 20 ms. One prompt at a time is prefilled, in 5 + 0.12 ms a token at all SMs, in proportion to
 * 1/share; a decode iteration takes 10 + 8 (0.4/share + 0.6) + 0.06 n ms. Two thirds of overlapping caps go to prefill.
 */
export class SmallEngine {
  readonly #uniform: () => number;
  #nowMs = 0;
  #nextArrivalMs: number | null = null;
  #waiting: Request[] = [];
  #running: Request[] = [];

  constructor(
    seed: number,
    private readonly startAtMs = SAMPLE_NOW_MS,
  ) {
    this.#uniform = uniformOf(seed);
  }

  /** Serves for so long at one split; the window that an agent would report. */
  run(split: Split, load: Load, durationMs: number): Omit<Window, "seq" | "generation"> {
    const fromMs = this.#nowMs;
    const tally = new Tally();
    while (this.#nowMs < fromMs + durationMs) {
      const stepMs = Math.min(STEP_MS, fromMs + durationMs - this.#nowMs);
      this.#arrive(load, stepMs, tally);
      const prefills = this.#waiting.length > 0;
      const decodes = this.#running.length > 0;
      tally.note(split, prefills, decodes, stepMs);
      if (decodes) this.#decode(stepMs, shareOf(split, "decode", prefills), tally);
      if (prefills) this.#prefill(stepMs, shareOf(split, "prefill", decodes), tally);
      this.#nowMs += stepMs;
    }
    const waitingTokens = this.#waiting.reduce((sum, request) => sum + request.promptTokens, 0);
    return tally.window(
      this.startAtMs + fromMs,
      durationMs,
      this.#waiting.length,
      this.#running,
      waitingTokens,
    );
  }

  #arrive(load: Load, stepMs: number, tally: Tally): void {
    const gapMs = () => (-1000 * Math.log(1 - this.#uniform())) / load.ratePerS;
    if (load.ratePerS <= 0) {
      this.#nextArrivalMs = null;
      return;
    }
    this.#nextArrivalMs ??= this.#nowMs + gapMs();
    while (this.#nextArrivalMs < this.#nowMs + stepMs) {
      const promptTokens = Math.ceil(lognormal(this.#uniform, load.promptTokens, load.promptCv));
      const answerTokens = Math.ceil(lognormal(this.#uniform, load.answerTokens, load.answerCv));
      const prefillMs = 5 + 0.12 * promptTokens;
      const times = { arrivedMs: this.#nextArrivalMs, firstTokenMs: 0 };
      this.#waiting.push({ promptTokens, answerTokens, prefillMs, tokens: answerTokens, ...times });
      tally.arrived(promptTokens);
      this.#nextArrivalMs += gapMs();
    }
  }

  #prefill(stepMs: number, share: number, tally: Tally): void {
    let leftMs = stepMs * share;
    for (let first = this.#waiting[0]; first !== undefined && leftMs > 0; first = this.#waiting[0]) {
      const spentMs = Math.min(leftMs, first.prefillMs);
      first.prefillMs -= spentMs;
      leftMs -= spentMs;
      if (first.prefillMs > 0) return;
      this.#waiting.shift();
      first.firstTokenMs = this.#nowMs + stepMs;
      tally.firstToken(first.firstTokenMs - first.arrivedMs, first.promptTokens);
      this.#running.push(first);
    }
  }

  #decode(stepMs: number, share: number, tally: Tally): void {
    const sequences = this.#running.length;
    const iterationMs = 10 + 8 * (0.4 / share + 0.6) + 0.06 * sequences;
    const context = this.#running.reduce((sum, r) => sum + r.promptTokens + r.answerTokens - r.tokens, 0);
    tally.decoded(stepMs, iterationMs, sequences, context);
    for (const request of this.#running) {
      request.tokens -= stepMs / iterationMs;
      if (request.tokens > 0) continue;
      const tpotMs = (this.#nowMs + stepMs - request.firstTokenMs) / Math.max(1, request.answerTokens);
      tally.finished(tpotMs, request.answerTokens);
    }
    this.#running = this.#running.filter((request) => request.tokens > 0);
  }
}

function shareOf(split: Split, phase: "prefill" | "decode", besideOther: boolean): number {
  const x = split.prefillSmPct / 100;
  const y = split.decodeSmPct / 100;
  const overlap = besideOther ? Math.max(0, x + y - 1) : 0;
  return phase === "prefill" ? x - overlap / 3 : y - (2 * overlap) / 3;
}

class Tally {
  #arrivals = 0;
  #promptTokens = 0;
  #promptTokensSq = 0;
  #maxPromptTokens = 0;
  #ttft = new Samples();
  #tpot = new Samples();
  #prefillTokens = 0;
  #finishedTokens = 0;
  #steps = 0;
  #outputTokens = 0;
  readonly #ms = { prefill: 0, decode: 0, both: 0, prefillGpu: 0, decodeGpu: 0, sequences: 0, context: 0 };

  arrived(promptTokens: number): void {
    this.#arrivals += 1;
    this.#promptTokens += promptTokens;
    this.#promptTokensSq += promptTokens ** 2;
    this.#maxPromptTokens = Math.max(this.#maxPromptTokens, promptTokens);
  }

  firstToken(ttftMs: number, promptTokens: number): void {
    this.#ttft.add(ttftMs);
    this.#prefillTokens += promptTokens;
    this.#outputTokens += 1;
  }

  finished(tpotMs: number, answerTokens: number): void {
    this.#tpot.add(tpotMs);
    this.#finishedTokens += answerTokens;
  }

  decoded(stepMs: number, iterationMs: number, sequences: number, context: number): void {
    this.#steps += stepMs / iterationMs;
    this.#outputTokens += (sequences * stepMs) / iterationMs;
    this.#ms.sequences += stepMs * sequences;
    this.#ms.context += stepMs * context;
  }

  note(split: Split, prefills: boolean, decodes: boolean, stepMs: number): void {
    const ms = this.#ms;
    if (prefills) ms.prefill += stepMs;
    if (decodes) ms.decode += stepMs;
    if (prefills && decodes) ms.both += stepMs;
    if (prefills) ms.prefillGpu += stepMs * shareOf(split, "prefill", decodes);
    if (decodes) ms.decodeGpu += stepMs * shareOf(split, "decode", prefills);
  }

  window(
    startAtMs: number,
    durationMs: number,
    waiting: number,
    running: readonly Request[],
    waitingTokens: number,
  ): Omit<Window, "seq" | "generation"> {
    const ms = this.#ms;
    const usedTokens = running.reduce((sum, r) => sum + r.promptTokens + r.answerTokens, 0);
    return {
      startAtMs,
      endAtMs: startAtMs + durationMs,
      durationMs,
      arrivals: this.#arrivals,
      promptTokens: this.#promptTokens,
      finished: this.#tpot.count,
      outputTokens: Math.round(this.#outputTokens),
      ttft: this.#ttft.histogram(),
      tpot: this.#tpot.histogram(),
      queue: { prefillWaiting: waiting, decodeRunning: running.length },
      kv: { totalTokens: 1_000_000, usedTokens: Math.min(1_000_000, usedTokens), preemptions: 0 },
      busy: { prefillShare: ms.prefill / durationMs, decodeShare: ms.decode / durationMs },
      work: {
        ...NO_WORK,
        promptTokensSq: this.#promptTokensSq,
        maxPromptTokens: this.#arrivals > 0 ? this.#maxPromptTokens : null,
        finishedOutputTokens: this.#finishedTokens,
        prefillBatches: this.#ttft.count,
        prefillTokens: this.#prefillTokens,
        decodeSteps: Math.round(this.#steps),
        decodeStepMeanMs: this.#steps > 0 ? ms.decode / this.#steps : null,
        decodeBatchMean: ms.decode > 0 ? ms.sequences / ms.decode : null,
        decodeContextMean: ms.decode > 0 ? ms.context / ms.decode : null,
        overlapShare: ms.both / durationMs,
        prefillGpuShare: ms.prefillGpu / durationMs,
        decodeGpuShare: ms.decodeGpu / durationMs,
        prefillWaitingTokens: waitingTokens,
        decodeWaiting: 0,
        maxSequences: 512,
        maxBatchTokens: 2048,
      },
    };
  }
}

class Samples {
  count = 0;
  readonly #counts = [...emptyHistogram(SAMPLE_BOUNDS_MS).counts];
  #sumMs = 0;

  add(ms: number): void {
    const found = SAMPLE_BOUNDS_MS.findIndex((bound) => ms <= bound);
    const bucket = found < 0 ? SAMPLE_BOUNDS_MS.length : found;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sumMs += ms;
    this.count += 1;
  }

  histogram(): Histogram {
    return { boundsMs: SAMPLE_BOUNDS_MS, counts: this.#counts, sumMs: this.#sumMs };
  }
}
