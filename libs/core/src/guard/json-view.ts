/**
 * A snapshot as it will be read back from its row. JSON has no NaN and no Infinity: they come back as null. So
 * that a decision is the same before and after, whatever may be null and is not a finite number is null here
 * already. Numbers that may not be null are left for the checks to find.
 */
import type { LatestSignal, Signal, Snapshot } from "../decision.js";
import type { WindowWork } from "../nouns.js";
import { finiteOrNull, isRecord } from "../signal/fault.js";

export function jsonView(snapshot: Snapshot): Snapshot {
  if (!isRecord(snapshot)) return snapshot;
  const { hold, signal } = snapshot;
  return {
    ...snapshot,
    rolloutGeneration: finiteOrNull(snapshot.rolloutGeneration),
    lastChangeAtMs: finiteOrNull(snapshot.lastChangeAtMs),
    coolDownUntilMs: finiteOrNull(snapshot.coolDownUntilMs),
    // A time that is none is refused by the checks, not taken for "at once".
    ...(snapshot.downtimeMs === undefined ? {} : { downtimeMs: finiteOrNull(snapshot.downtimeMs) ?? -1 }),
    hold: isRecord(hold) ? holdView(hold) : hold,
    signal: isRecord(signal) ? signalView(signal) : signal,
    ...(isRecord(snapshot.latest) ? { latest: latestView(snapshot.latest) } : {}),
  };
}

function latestView(latest: LatestSignal): LatestSignal {
  return { ...signalView(latest), generation: finiteOrNull(latest.generation) };
}

function holdView(hold: Snapshot["hold"]): Snapshot["hold"] {
  const { pinned, frozenBy } = hold;
  return {
    ...hold,
    ...(isRecord(pinned) ? { pinned: { ...pinned, untilAtMs: finiteOrNull(pinned.untilAtMs) } } : {}),
    ...(isRecord(frozenBy) ? { frozenBy: { ...frozenBy, untilAtMs: finiteOrNull(frozenBy.untilAtMs) } } : {}),
  };
}

function signalView(signal: Signal): Signal {
  const { busy, queue, kv } = signal;
  return {
    ...signal,
    fromAtMs: finiteOrNull(signal.fromAtMs),
    toAtMs: finiteOrNull(signal.toAtMs),
    ttft: signal.ttft ?? null,
    tpot: signal.tpot ?? null,
    ...(isRecord(signal.work) ? { work: workView(signal.work) } : {}),
    busy: isRecord(busy)
      ? { prefillShare: finiteOrNull(busy.prefillShare), decodeShare: finiteOrNull(busy.decodeShare) }
      : busy,
    queue: isRecord(queue)
      ? {
          prefillWaiting: finiteOrNull(queue.prefillWaiting),
          decodeRunning: finiteOrNull(queue.decodeRunning),
        }
      : queue,
    kv: isRecord(kv)
      ? {
          totalTokens: finiteOrNull(kv.totalTokens),
          usedTokens: finiteOrNull(kv.usedTokens),
          preemptions: finiteOrNull(kv.preemptions),
        }
      : kv,
  };
}

function workView(work: WindowWork): WindowWork {
  const entries = Object.entries(work).map(([field, value]) => [field, finiteOrNull(value)]);
  return Object.fromEntries(entries) as WindowWork;
}
