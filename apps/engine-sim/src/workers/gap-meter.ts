import type { Phase } from "@fulcrum/core/nouns.js";
import type { HandOver, Measure } from "./resident-protocol.js";

type Gaps = Pick<
  Measure,
  | "windowMs"
  | "tokens"
  | "largestGapMs"
  | "gapMs"
  | "largestPauseMs"
  | "largestIterationMs"
  | "medianIterationMs"
  | "handOvers"
>;

/** A resident that nobody measures must not grow. */
const MAX_HAND_OVERS = 1_000;

/** How long requests wait for their next token, and roles for their next iteration. Milliseconds of engine time. */
export class GapMeter {
  private sinceMs = 0;
  private readonly gaps = new Durations();
  private readonly pauses = { prefill: new Durations(), decode: new Durations() };
  private readonly iterations = { prefill: new Durations(), decode: new Durations() };
  private handOvers: HandOver[] = [];
  /** Since the start. */
  largestGapEverMs = 0;

  gap(ms: number): void {
    this.gaps.add(ms);
    this.largestGapEverMs = Math.max(this.largestGapEverMs, ms);
  }

  pause(phase: Phase, ms: number): void {
    this.pauses[phase].add(ms);
  }

  iteration(phase: Phase, ms: number): void {
    this.iterations[phase].add(ms);
  }

  handOver(handOver: HandOver): void {
    if (this.handOvers.length === MAX_HAND_OVERS) this.handOvers.shift();
    this.handOvers.push(handOver);
  }

  /** What was seen since the window began. */
  read(nowMs: number): Gaps {
    const { gaps, pauses, iterations } = this;
    return {
      windowMs: nowMs - this.sinceMs,
      tokens: gaps.count,
      largestGapMs: gaps.largest,
      gapMs: { p50: gaps.rank(0.5), p99: gaps.rank(0.99), p9999: gaps.rank(0.9999) },
      largestPauseMs: { prefill: pauses.prefill.largest, decode: pauses.decode.largest },
      largestIterationMs: { prefill: iterations.prefill.largest, decode: iterations.decode.largest },
      medianIterationMs: { prefill: iterations.prefill.rank(0.5), decode: iterations.decode.rank(0.5) },
      handOvers: [...this.handOvers],
    };
  }

  /** A new window. */
  begin(nowMs: number): void {
    this.sinceMs = nowMs;
    for (const both of [this.pauses, this.iterations]) {
      both.prefill.clear();
      both.decode.clear();
    }
    this.gaps.clear();
    this.handOvers = [];
  }
}

class Durations {
  count = 0;
  largest = 0;
  /** By whole milliseconds. */
  private readonly counts = new Map<number, number>();

  add(ms: number): void {
    this.count += 1;
    this.largest = Math.max(this.largest, ms);
    const bucket = Math.floor(ms);
    this.counts.set(bucket, (this.counts.get(bucket) ?? 0) + 1);
  }

  /** The whole millisecond in which the one at this part of all lies; 0 without any. */
  rank(part: number): number {
    let left = part * this.count;
    for (const [ms, count] of [...this.counts].sort(([a], [b]) => a - b)) {
      left -= count;
      if (left <= 0) return ms;
    }
    return 0;
  }

  clear(): void {
    this.count = 0;
    this.largest = 0;
    this.counts.clear();
  }
}
