import { window as windowSchema } from "@fulcrum/contracts/windows.js";
import type { Logger } from "pino";
import type { AgentMetrics } from "../agent-metrics.js";
import type { ActualState } from "../partition-driver.js";
import { type Journal, SEQ_RESERVE } from "../journal.js";
import { type EngineReader, ReadError, type Snapshot } from "../reader/engine-reader.js";
import { closeWindow, type Edge, type Mark, type UnnumberedWindow } from "./close-window.js";
import { WindowBuffer } from "./window-buffer.js";

/** One missed scrape is bridged by a longer window; the second makes it a condition. */
const FAILING_SCRAPES = 2;

export interface MeterOptions {
  readonly instance: string;
  readonly reader: EngineReader;
  readonly journal: Journal;
  readonly log: Logger;
  readonly metrics: AgentMetrics;
  /** Read-back around a scrape; null when the driver does not answer. */
  readonly look: () => Promise<ActualState | null>;
  readonly onReset: () => void;
}

/** Turns an engine's cumulative metrics into numbered windows. */
export class Meter {
  readonly windows: WindowBuffer;
  private edge: Edge | null = null;
  private measuring: Promise<void> | null = null;
  private missed = 0;

  constructor(private readonly options: MeterOptions) {
    this.windows = new WindowBuffer(options.journal.state.reservedSeq + 1);
    this.reserve();
  }

  /** The newest snapshot; null before the first. */
  get latest(): Snapshot | null {
    return this.edge?.snapshot ?? null;
  }

  get failing(): boolean {
    return this.missed >= FAILING_SCRAPES;
  }

  /** One scrape and, when the last one belongs to it, one window. A measurement under way is not doubled. */
  measure(signal: AbortSignal): Promise<void> {
    this.measuring ??= this.measureOnce(signal).finally(() => {
      this.measuring = null;
    });
    return this.measuring;
  }

  /** Drops what the controller will never take. */
  reject(lastSeq: number): void {
    const before = this.windows.droppedCount;
    this.windows.reject(lastSeq);
    this.countDropped("rejected", this.windows.droppedCount - before);
  }

  private async measureOnce(signal: AbortSignal): Promise<void> {
    const { reader, look, log } = this.options;
    const before = await look();
    let snapshot: Snapshot;
    try {
      snapshot = await reader.scrape(signal);
    } catch (error) {
      if (!(error instanceof ReadError)) throw error;
      if (!signal.aborted) this.noteMissed(error);
      return;
    }
    if (this.failing) log.info({ event: "scrape_works", missed: this.missed });
    this.missed = 0;
    this.advance({ snapshot, mark: markOf(before, before && (await look())) });
  }

  private noteMissed({ code, message }: ReadError): void {
    const { metrics, log, instance } = this.options;
    this.missed += 1;
    metrics.add("scrape_failures_total", { instance, code });
    if (this.missed === FAILING_SCRAPES) log.warn({ event: "scrape_failing", code, error: message });
  }

  private advance(edge: Edge): void {
    const from = this.edge;
    const closed = from && closeWindow(from, edge);
    // While the engine's clock stands still the window stays open.
    if (closed?.kind === "no_time") return;
    this.edge = edge;
    if (closed === null) return;
    if (closed.kind === "window") return this.keep(closed.window);
    this.options.log.warn({ event: "window_dropped", ...closed });
    this.countDropped(closed.kind, 1);
    if (closed.kind === "reset") this.options.onReset();
  }

  private keep(window: UnnumberedWindow): void {
    const { metrics, log, instance } = this.options;
    const valid = windowSchema.safeParse({ seq: this.windows.next, ...window });
    if (!valid.success) {
      const issue = valid.error.issues[0];
      log.error({
        event: "window_dropped",
        kind: "invalid",
        field: issue?.path.join("."),
        why: issue?.message,
      });
      return this.countDropped("invalid", 1);
    }
    const before = this.windows.droppedCount;
    this.windows.push(window);
    metrics.add("windows_total", { instance });
    this.countDropped("overflow", this.windows.droppedCount - before);
    this.reserve();
  }

  /** Half a block ahead: a number must be on disk as used before a window with it can be reported. */
  private reserve(): void {
    const { journal } = this.options;
    if (this.windows.next + SEQ_RESERVE / 2 <= journal.state.reservedSeq) return;
    void journal.update({ reservedSeq: this.windows.next + SEQ_RESERVE });
  }

  private countDropped(reason: string, by: number): void {
    if (by === 0) return;
    this.options.metrics.add("windows_dropped_total", { instance: this.options.instance, reason }, by);
  }
}

/** A generation counts only when the engine was steady at it both before and after the scrape. */
function markOf(before: ActualState | null, after: ActualState | null): Mark {
  if (!before || !after) return { generation: null, bootId: null };
  const same = before.bootId === after.bootId && before.generation === after.generation;
  const steady = same && before.phase !== "switching" && after.phase !== "switching";
  return { generation: steady ? after.generation : null, bootId: same ? after.bootId : null };
}
