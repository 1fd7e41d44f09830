import type { Clock } from "../clock.js";

/** Time that moves only when the test says so. */
export class VirtualClock implements Clock {
  private elapsedMs = 0;

  constructor(private readonly startAtMs = 1_800_000_000_000) {}

  nowMs(): number {
    return this.startAtMs + this.elapsedMs;
  }

  monotonicMs(): number {
    return this.elapsedMs;
  }

  sleep(durationMs: number): Promise<void> {
    this.elapsedMs += durationMs;
    return Promise.resolve();
  }
}
