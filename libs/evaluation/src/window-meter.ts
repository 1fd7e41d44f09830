import type { Histogram, Window, WindowClass, WindowWork } from "@fulcrum/core/nouns.js";
import type { Instance, InstanceState } from "@fulcrum/simulator/instance.js";
import type { SimEvent } from "@fulcrum/simulator/job.js";

/** Bucket bounds of the meter, ms: 1 ms to 100 s, each 1.2 times the one before, and the SLO's own among them. */
export function meterBounds(sloBoundsMs: readonly number[]): number[] {
  const regular = Array.from({ length: 56 }, (_, i) => Number((4 * 1.2 ** i).toPrecision(4)));
  const apart = regular.filter((ms) => sloBoundsMs.every((bound) => Math.abs(ms / bound - 1) > 0.05));
  return [...new Set([...apart, ...sloBoundsMs])].sort((a, b) => a - b);
}

export type MeteredWindow = Omit<Window, "seq" | "generation">;

/** What an engine was started with. */
export interface EngineLimits {
  readonly maxSequences: number;
  readonly maxBatchTokens: number;
}

/** Turns an instance's events and counters into windows, as an agent does with an engine's metrics. */
export class WindowMeter {
  readonly #boundsMs: readonly number[];
  #before: InstanceState;

  constructor(
    private readonly instance: Instance,
    boundsMs: readonly number[],
    private readonly limits: EngineLimits,
    /** By id of a request; null: classes are not told. */
    private readonly kinds: ReadonlyMap<number, string> | null = null,
  ) {
    this.#boundsMs = boundsMs;
    this.#before = instance.state();
  }

  /** Closes the window that ends now; `events` are all that happened in it. */
  close(events: readonly SimEvent[]): MeteredWindow {
    const before = this.#before;
    const after = this.instance.state();
    this.#before = after;
    const tally = new Tally(this.#boundsMs);
    for (const event of events) tally.add(event);
    const { kinds } = this;
    const durationMs = after.nowMs - before.nowMs;
    const share = (pick: (state: InstanceState) => number) => (pick(after) - pick(before)) / durationMs;
    return {
      startAtMs: before.nowMs,
      endAtMs: after.nowMs,
      durationMs,
      arrivals: tally.arrivals,
      promptTokens: tally.promptTokens,
      finished: tally.finished,
      outputTokens: tally.outputTokens,
      ttft: tally.ttft.read(),
      tpot: tally.tpot.read(),
      queue: { prefillWaiting: after.prefillWaiting, decodeRunning: after.decodeRunning },
      kv: {
        totalTokens: after.kvTotalTokens,
        usedTokens: after.kvUsedTokens,
        preemptions: tally.preemptions,
      },
      busy: {
        prefillShare: share((s) => s.work.busyMs.prefill),
        decodeShare: share((s) => s.work.busyMs.decode),
      },
      work: workBetween(before, after, tally, this.limits),
      ...(kinds === null ? {} : { classes: classesOf(events, kinds, this.#boundsMs) }),
    };
  }
}

function workBetween(
  before: InstanceState,
  after: InstanceState,
  tally: Tally,
  limits: EngineLimits,
): WindowWork {
  const delta = (pick: (state: InstanceState) => number) => pick(after) - pick(before);
  const durationMs = after.nowMs - before.nowMs;
  const steps = delta((s) => s.work.iterations.decode);
  const decodeBusyMs = delta((s) => s.work.busyMs.decode);
  return {
    promptTokensSq: delta((s) => s.work.promptTokensSq),
    maxPromptTokens: tally.arrivals > 0 ? tally.maxPromptTokens : null,
    finishedOutputTokens: tally.finishedOutputTokens,
    prefillBatches: delta((s) => s.work.iterations.prefill),
    prefillTokens: delta((s) => s.work.sizes.prefill),
    decodeSteps: steps,
    decodeStepMeanMs: steps > 0 ? decodeBusyMs / steps : null,
    decodeBatchMean: steps > 0 ? delta((s) => s.work.sizes.decode) / steps : null,
    decodeContextMean: decodeBusyMs > 0 ? delta((s) => s.work.contextTokenMs) / decodeBusyMs : null,
    overlapShare: delta((s) => s.work.overlapMs) / durationMs,
    prefillGpuShare: delta((s) => s.work.gpuMs.prefill) / durationMs,
    decodeGpuShare: delta((s) => s.work.gpuMs.decode) / durationMs,
    prefillWaitingTokens: after.prefillWaitingTokens,
    oldestWaitMs: after.oldestWaitMs,
    decodeWaiting: after.decodeWaiting,
    maxSequences: limits.maxSequences,
    maxBatchTokens: limits.maxBatchTokens,
  };
}

/** As an engine that counts by a label of its requests; those without a kind are in no class. */
function classesOf(
  events: readonly SimEvent[],
  kinds: ReadonlyMap<number, string>,
  boundsMs: readonly number[],
): readonly WindowClass[] {
  const tallies = new Map<string, { tally: Tally; promptTokensSq: number }>();
  for (const event of events) {
    const kind = "id" in event ? kinds.get(event.id) : undefined;
    if (kind === undefined) continue;
    const found = tallies.get(kind) ?? { tally: new Tally(boundsMs), promptTokensSq: 0 };
    tallies.set(kind, found);
    found.tally.add(event);
    if (event.type === "arrived") found.promptTokensSq += event.promptTokens ** 2;
  }
  return [...tallies].map(([name, { tally, promptTokensSq }]) => ({
    name,
    arrivals: tally.arrivals,
    promptTokens: tally.promptTokens,
    promptTokensSq,
    ttft: tally.ttft.read(),
    tpot: tally.tpot.read(),
  }));
}

class Tally {
  arrivals = 0;
  promptTokens = 0;
  maxPromptTokens = 0;
  finished = 0;
  finishedOutputTokens = 0;
  outputTokens = 0;
  preemptions = 0;
  readonly ttft: Samples;
  readonly tpot: Samples;

  constructor(boundsMs: readonly number[]) {
    this.ttft = new Samples(boundsMs);
    this.tpot = new Samples(boundsMs);
  }

  add(event: SimEvent): void {
    if (event.type === "arrived") {
      this.arrivals += 1;
      this.promptTokens += event.promptTokens;
      this.maxPromptTokens = Math.max(this.maxPromptTokens, event.promptTokens);
    } else if (event.type === "first_token") {
      this.ttft.add(event.ttftMs);
      this.outputTokens += 1;
    } else if (event.type === "tokens") {
      for (const group of event.groups) this.outputTokens += group.count;
    } else if (event.type === "finished") {
      this.finished += 1;
      this.finishedOutputTokens += event.outputTokens;
      if (event.tpotMs !== null) this.tpot.add(event.tpotMs);
    } else if (event.type === "preempted") {
      this.preemptions += 1;
    }
  }
}

/** A histogram that is being filled. */
class Samples {
  readonly #counts: number[];
  #sumMs = 0;

  constructor(private readonly boundsMs: readonly number[]) {
    this.#counts = Array.from({ length: boundsMs.length + 1 }, () => 0);
  }

  add(ms: number): void {
    let low = 0;
    let high = this.boundsMs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ms <= (this.boundsMs[middle] ?? Infinity)) high = middle;
      else low = middle + 1;
    }
    this.#counts[low] = (this.#counts[low] ?? 0) + 1;
    this.#sumMs += ms;
  }

  read(): Histogram {
    return { boundsMs: this.boundsMs, counts: this.#counts, sumMs: this.#sumMs };
  }
}
