/**
 * The fleet in memory, kept current by events. 1,000 instances send 1,000 windows a second: they are taken in at once and
 * shown at most FLUSH_MS apart. A window moves the sparklines, the split, the KV gauge and the rate; attainment and latencies
 * are over the pool's lookback and come with the list, because one second of a few requests would flicker.
 */
import type { Fleet, FleetItem, LiveEvent, Spark } from "@fulcrum/contracts/live.js";
import { judge, type Judged } from "./fleet-view.js";

export const FLUSH_MS = 500;
/** Instances that one page shows; beyond it the page says so. */
export const MAX_INSTANCES = 5_000;

export class FleetStore {
  private readonly byName = new Map<string, Judged>();
  private readonly waiting = new Map<string, LiveEvent<"window">>();
  private readonly sparkAtMs = new Map<string, number>();
  private shown: readonly Judged[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly listeners = new Set<() => void>();

  readonly subscribe = (changed: () => void): (() => void) => {
    this.listeners.add(changed);
    return () => void this.listeners.delete(changed);
  };

  /** The same array until something has changed. */
  readonly items = (): readonly Judged[] => this.shown;

  load(answer: readonly Fleet[]): void {
    this.byName.clear();
    this.waiting.clear();
    for (const { at, items } of answer) {
      for (const item of items) {
        this.byName.set(item.instance.name, { item, judgement: judge(item) });
        this.sparkAtMs.set(item.instance.name, Date.parse(at));
      }
    }
    this.flush();
  }

  take(event: LiveEvent<"window">): void {
    if (!this.byName.has(event.instance)) return;
    this.waiting.set(event.instance, event);
    this.timer ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private flush(): void {
    this.stop();
    for (const event of this.waiting.values()) {
      const { item } = this.byName.get(event.instance)!;
      const next = this.withWindow(item, event);
      this.byName.set(event.instance, { item: next, judgement: judge(next) });
    }
    this.waiting.clear();
    this.shown = [...this.byName.values()];
    this.listeners.forEach((changed) => changed());
  }

  private withWindow(item: FleetItem, event: LiveEvent<"window">): FleetItem {
    const { instance } = item;
    const conditions = instance.conditions.filter((one) => one !== "StaleSignal" && one !== "NoSignal");
    return {
      ...item,
      arrivalPerS: event.arrivalPerS ?? item.arrivalPerS,
      kvUsedShare: event.kvUsedShare ?? item.kvUsedShare,
      spark: this.withPoint(item.spark, event),
      instance: {
        ...instance,
        conditions,
        observed:
          event.split === null || event.generation === null
            ? instance.observed
            : {
                split: event.split,
                kvQuotaPct: event.kvQuotaPct ?? instance.desired.kvQuotaPct,
                generation: event.generation,
              },
      },
    };
  }

  /** One point per step: within a step the newest stands. */
  private withPoint(spark: Spark, event: LiveEvent<"window">): Spark {
    const lastMs = this.sparkAtMs.get(event.instance) ?? event.atMs;
    const isNewStep = event.atMs >= lastMs + spark.stepMs;
    if (isNewStep) this.sparkAtMs.set(event.instance, event.atMs);
    const put = (values: readonly (number | null)[], value: number | null) =>
      isNewStep ? [...values.slice(1), value] : [...values.slice(0, -1), value ?? values.at(-1) ?? null];
    return {
      stepMs: spark.stepMs,
      attainment: put(spark.attainment, event.attainmentShare),
      ttftMs: put(spark.ttftMs, event.ttftMs),
      tpotMs: put(spark.tpotMs, event.tpotMs),
    };
  }
}
