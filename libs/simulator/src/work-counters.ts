import type { Phase } from "@fulcrum/core/nouns.js";

/** An iteration of a phase that runs from one instant to another on a share (0..1] of the GPU's SMs. */
export interface Iteration {
  readonly startMs: number;
  readonly endMs: number;
  readonly share: number;
  /** Prompt tokens, or sequences. */
  readonly size: number;
  /** Context tokens of the decode batch; 0 for prefill. */
  readonly contextTokens: number;
}

/** What the workers have done since the start: sums that only grow, so that a window is the difference of two. */
export interface Work {
  /** Iterations that ended, and the prompt tokens or sequences that they carried. */
  readonly iterations: Readonly<Record<Phase, number>>;
  readonly sizes: Readonly<Record<Phase, number>>;
  /** Milliseconds in which the phase ran; the same times the share of the GPU that it had. */
  readonly busyMs: Readonly<Record<Phase, number>>;
  readonly gpuMs: Readonly<Record<Phase, number>>;
  /** Milliseconds in which both ran. */
  readonly overlapMs: number;
  /** Context tokens of the decode batch times milliseconds. */
  readonly contextTokenMs: number;
  /** Sum of squared prompt lengths of all arrivals. */
  readonly promptTokensSq: number;
}

/**
 * Keeps a Work up to date. Sums change only where iterations end and what runs is added on reading, so that
 * they do not depend, even in the last digit, on how often somebody looked.
 */
export class WorkCounters {
  readonly #ended: Mutable = {
    iterations: { prefill: 0, decode: 0 },
    sizes: { prefill: 0, decode: 0 },
    busyMs: { prefill: 0, decode: 0 },
    gpuMs: { prefill: 0, decode: 0 },
    overlapMs: 0,
    contextTokenMs: 0,
    promptTokensSq: 0,
  };

  /** An iteration of `phase` is over; `other` is the other phase's that still runs, or ends at this instant too. */
  ended(phase: Phase, iteration: Iteration, other: Iteration | null): void {
    const sums = this.#ended;
    sums.iterations[phase] += 1;
    sums.sizes[phase] += iteration.size;
    addTime(sums, phase, iteration, iteration.endMs);
    sums.overlapMs += overlapMs(iteration, other, iteration.endMs);
  }

  arrived(promptTokens: number): void {
    this.#ended.promptTokensSq += promptTokens ** 2;
  }

  /** The sums at `nowMs`, while these iterations run. */
  read(nowMs: number, prefill: Iteration | null, decode: Iteration | null): Work {
    const sums = copyOf(this.#ended);
    if (prefill !== null) addTime(sums, "prefill", prefill, nowMs);
    if (decode !== null) addTime(sums, "decode", decode, nowMs);
    if (prefill !== null) sums.overlapMs += overlapMs(prefill, decode, nowMs);
    return sums;
  }

  copy(): WorkCounters {
    const copy = new WorkCounters();
    Object.assign(copy.#ended, copyOf(this.#ended));
    return copy;
  }
}

type Mutable = {
  -readonly [K in keyof Work]: Work[K] extends number ? number : Record<Phase, number>;
};

function copyOf(sums: Mutable): Mutable {
  return {
    ...sums,
    iterations: { ...sums.iterations },
    sizes: { ...sums.sizes },
    busyMs: { ...sums.busyMs },
    gpuMs: { ...sums.gpuMs },
  };
}

function addTime(sums: Mutable, phase: Phase, iteration: Iteration, untilMs: number): void {
  const ms = untilMs - iteration.startMs;
  sums.busyMs[phase] += ms;
  sums.gpuMs[phase] += ms * iteration.share;
  sums.contextTokenMs += ms * iteration.contextTokens;
}

function overlapMs(one: Iteration, other: Iteration | null, untilMs: number): number {
  return other === null ? 0 : untilMs - Math.max(one.startMs, other.startMs);
}
