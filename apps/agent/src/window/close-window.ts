/**
 * From two cumulative snapshots to one window: differences of counters and buckets, gauges at the end.
 * Where the engine does not count arrivals they are estimated from the balance
 * arrived = finished + aborted + growth of (waiting + running), and their prompt tokens from the mean
 * prompt of the requests that finished.
 */
import type { Histogram, Window } from "@fulcrum/core/nouns.js";
import { emptyHistogram, sameBounds, subtractHistograms } from "@fulcrum/core/signal/histogram.js";
import type { Series, Snapshot, SnapshotCounters } from "../reader/engine-reader.js";
import { difference, share } from "./growth.js";
import { windowClasses } from "./window-classes.js";
import { windowWork } from "./window-work.js";

/** What the driver said around a scrape. */
export interface Mark {
  /** The generation that every worker ran, or null: a switch was under way, or the driver did not answer. */
  readonly generation: number | null;
  readonly bootId: string | null;
}

export interface Edge {
  readonly snapshot: Snapshot;
  readonly mark: Mark;
}

export type UnnumberedWindow = Omit<Window, "seq">;

export type Closed =
  | { readonly kind: "window"; readonly window: UnnumberedWindow }
  /** Something cumulative fell: the engine began anew, and what lies between the edges cannot be known. */
  | { readonly kind: "reset"; readonly what: string }
  /** The engine's clock stood still. */
  | { readonly kind: "no_time" }
  | { readonly kind: "too_long"; readonly durationMs: number };

/** The contract's bound on a window: an hour. */
export const MAX_WINDOW_MS = 3_600_000;

/** SGLang's default TTFT and inter-token bounds, for windows before the engine has observed anything. */
const UNOBSERVED_TTFT = emptyHistogram([
  100, 200, 400, 600, 800, 1_000, 2_000, 4_000, 6_000, 8_000, 10_000, 20_000,
]);
const UNOBSERVED_TPOT = emptyHistogram([
  2, 4, 6, 8, 10, 15, 20, 25, 30, 35, 40, 60, 80, 100, 200, 400, 600, 800,
]);

export function closeWindow(from: Edge, to: Edge): Closed {
  const before = from.snapshot;
  const after = to.snapshot;
  const fell = whatFell(from, to);
  if (fell !== null) return { kind: "reset", what: fell };
  const wallMs = after.monotonicMs - before.monotonicMs;
  const durationMs =
    before.engineClockMs !== null && after.engineClockMs !== null
      ? after.engineClockMs - before.engineClockMs
      : wallMs;
  if (durationMs <= 0) return { kind: "no_time" };
  if (durationMs > MAX_WINDOW_MS) return { kind: "too_long", durationMs };
  const sameGeneration = from.mark.generation === to.mark.generation && from.mark.bootId === to.mark.bootId;
  const ttft = growth(before.ttft, after.ttft, UNOBSERVED_TTFT);
  const tpot = growth(before.tpot, after.tpot, UNOBSERVED_TPOT);
  return {
    kind: "window",
    window: {
      // A wall clock that was set back must not turn the window around.
      startAtMs:
        before.atMs <= after.atMs ? before.atMs : Math.max(0, after.atMs - Math.max(0, Math.round(wallMs))),
      endAtMs: after.atMs,
      durationMs,
      generation: sameGeneration ? to.mark.generation : null,
      ...flow(before, after),
      ttft,
      tpot,
      queue: { prefillWaiting: after.gauges.waiting, decodeRunning: after.gauges.running },
      kv: {
        totalTokens: after.gauges.kvTotalTokens,
        usedTokens: after.gauges.kvUsedTokens,
        preemptions: difference(before.counters.preemptions, after.counters.preemptions),
      },
      busy: {
        prefillShare: share(before.counters.prefillBusyMs, after.counters.prefillBusyMs, durationMs),
        decodeShare: share(before.counters.decodeBusyMs, after.counters.decodeBusyMs, durationMs),
      },
      work: windowWork(before, after, durationMs),
      ...windowClasses(before, after, { ttft, tpot }),
    },
  };
}

/** Names the first cumulative thing that is lower than before; null when the edges belong together. */
function whatFell(from: Edge, to: Edge): string | null {
  if (from.mark.bootId !== null && to.mark.bootId !== null && from.mark.bootId !== to.mark.bootId) {
    return "bootId";
  }
  const before = from.snapshot;
  const after = to.snapshot;
  const counter = counterThatFell(before.counters, after.counters);
  if (counter !== null) return counter;
  if (before.engineClockMs !== null && (after.engineClockMs ?? -1) < before.engineClockMs) {
    return "engineClockMs";
  }
  if (histogramFell(before.ttft, after.ttft)) return "ttft";
  if (histogramFell(before.tpot, after.tpot)) return "tpot";
  // Of requests now and of tokens before: the same bounds would not tell them apart.
  if (before.tpot !== null && before.tpotBasis !== after.tpotBasis) return "tpot";
  return seriesThatBeganAnew(before, after);
}

function counterThatFell(before: SnapshotCounters, after: SnapshotCounters): string | null {
  for (const key of Object.keys(before) as (keyof SnapshotCounters)[]) {
    const was = before[key];
    const is = after[key];
    if (was !== null && (is === null ? was > 0 : is < was)) return key;
  }
  return null;
}

/** Of one rank of several: the sum over all of them may have grown all the same. */
function seriesThatBeganAnew(before: Snapshot, after: Snapshot): string | null {
  for (const [name, was] of before.series) {
    if (beganAnew(was, after.series.get(name))) return name;
  }
  return null;
}

function beganAnew(was: Series, is: Series | undefined): boolean {
  if (is === undefined) return was.value > 0;
  return (
    is.value < was.value || (was.createdS !== null && is.createdS !== null && was.createdS !== is.createdS)
  );
}

/** Other bounds come from another process, as fallen counts do. */
function histogramFell(before: Histogram | null, after: Histogram | null): boolean {
  if (before === null) return false;
  return after === null || !sameBounds(before, after) || subtractHistograms(after, before) === null;
}

/** Of readings that did not fall: closeWindow has looked. */
function growth(before: Histogram | null, after: Histogram | null, unobserved: Histogram): Histogram {
  if (after === null) return unobserved;
  return before === null ? after : (subtractHistograms(after, before) ?? unobserved);
}

type Flow = Pick<UnnumberedWindow, "arrivals" | "promptTokens" | "finished" | "outputTokens">;

function flow(before: Snapshot, after: Snapshot): Flow {
  const finished = after.counters.finished - before.counters.finished;
  const outputTokens = after.counters.outputTokens - before.counters.outputTokens;
  const arrivals =
    difference(before.counters.arrivals, after.counters.arrivals) ?? estimatedArrivals(before, after);
  const promptTokens =
    difference(before.counters.arrivedPromptTokens, after.counters.arrivedPromptTokens) ??
    // Tokens are counted whole, also where they are an estimate.
    Math.round(arrivals * meanPrompt(before.counters, after.counters));
  return { arrivals, promptTokens, finished, outputTokens };
}

function estimatedArrivals(before: Snapshot, after: Snapshot): number {
  const left =
    after.counters.finished -
    before.counters.finished +
    (difference(before.counters.aborted, after.counters.aborted) ?? 0);
  const was = inside(before);
  const is = inside(after);
  return Math.max(0, left + (was === null || is === null ? 0 : is - was));
}

function inside({ gauges }: Snapshot): number | null {
  return gauges.waiting === null || gauges.running === null ? null : gauges.waiting + gauges.running;
}

/** Of the requests whose prompts were counted in the window, else of all that ever were, else 0. */
function meanPrompt(before: SnapshotCounters, after: SnapshotCounters): number {
  const requests = after.promptRequests ?? after.finished;
  const inWindow = requests - (before.promptRequests ?? before.finished);
  if (inWindow > 0) return (after.promptTokens - before.promptTokens) / inWindow;
  return requests > 0 ? after.promptTokens / requests : 0;
}
