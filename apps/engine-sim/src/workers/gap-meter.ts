import type { Phase } from "@fulcrum/core/nouns.js";
import type { Measure } from "./resident-protocol.js";

type Gaps = Pick<
  Measure,
  "windowMs" | "tokens" | "largestGapMs" | "gapMs" | "largestPauseMs" | "largestIterationMs"
>;

/** How long requests wait for their next token, and roles for their next iteration. Milliseconds of engine time. */
export class GapMeter {
  private sinceMs = 0;
  private tokens = 0;
  private largestGapMs = 0;
  /** By whole milliseconds. */
  private readonly gaps = new Map<number, number>();
  private largestPauseMs = { prefill: 0, decode: 0 };
  private largestIterationMs = { prefill: 0, decode: 0 };
  /** Since the start. */
  largestGapEverMs = 0;

  gap(ms: number): void {
    this.tokens += 1;
    this.largestGapMs = Math.max(this.largestGapMs, ms);
    this.largestGapEverMs = Math.max(this.largestGapEverMs, ms);
    const bucket = Math.floor(ms);
    this.gaps.set(bucket, (this.gaps.get(bucket) ?? 0) + 1);
  }

  pause(phase: Phase, ms: number): void {
    this.largestPauseMs[phase] = Math.max(this.largestPauseMs[phase], ms);
  }

  iteration(phase: Phase, ms: number): void {
    this.largestIterationMs[phase] = Math.max(this.largestIterationMs[phase], ms);
  }

  /** What was seen since the window began. */
  read(nowMs: number): Gaps {
    return {
      windowMs: nowMs - this.sinceMs,
      tokens: this.tokens,
      largestGapMs: this.largestGapMs,
      gapMs: { p50: this.rank(0.5), p99: this.rank(0.99), p9999: this.rank(0.9999) },
      largestPauseMs: { ...this.largestPauseMs },
      largestIterationMs: { ...this.largestIterationMs },
    };
  }

  /** A new window. */
  begin(nowMs: number): void {
    this.sinceMs = nowMs;
    this.tokens = 0;
    this.largestGapMs = 0;
    this.gaps.clear();
    this.largestPauseMs = { prefill: 0, decode: 0 };
    this.largestIterationMs = { prefill: 0, decode: 0 };
  }

  /** The whole millisecond in which the gap at this part of all gaps lies; 0 without any. */
  private rank(part: number): number {
    let left = part * this.tokens;
    for (const [ms, count] of [...this.gaps].sort(([a], [b]) => a - b)) {
      left -= count;
      if (left <= 0) return ms;
    }
    return 0;
  }
}
