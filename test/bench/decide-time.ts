import { decide } from "@fulcrum/core/decide.js";
import { DEFAULT_FEEDBACK, DEFAULT_GUARDS } from "@fulcrum/core/defaults.js";
import type { PolicyState, Snapshot } from "@fulcrum/core/decision.js";
import { histogramAt, sampleSnapshot } from "@fulcrum/core/fixtures.js";

const WARM_UP = 2_000;
const CALLS = 20_000;

/** Microseconds per decide() of the feedback policy: a missed phase, so that candidates are weighed, with a fitted model. */
export function measureDecide(): { n: number; p50: number; p99: number } {
  const policy = { name: "feedback", params: DEFAULT_FEEDBACK } as const;
  const samples = new Float64Array(CALLS);
  let state: PolicyState | null = null;
  for (let i = -WARM_UP; i < CALLS; i += 1) {
    const snapshot = missing(i, state);
    const startedAt = performance.now();
    const decision = decide(snapshot, policy, DEFAULT_GUARDS, snapshot.signal.toAtMs! + 100);
    if (i >= 0) samples[i] = (performance.now() - startedAt) * 1_000;
    state = decision.state;
  }
  const sorted = samples.sort();
  return { n: CALLS, p50: sorted[CALLS / 2]!, p99: sorted[Math.floor(CALLS * 0.99)]! };
}

function missing(turn: number, state: PolicyState | null): Snapshot {
  const base = sampleSnapshot();
  const toAtMs = base.signal.toAtMs! + (turn + WARM_UP) * 5_000;
  const ttftMs = 400 + (turn % 7) * 50;
  const signal = { ...base.signal, fromAtMs: toAtMs - 5_000, toAtMs, ttft: histogramAt(ttftMs, 60) };
  return { ...base, signal, state };
}
