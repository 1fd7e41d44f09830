/** What has gone wrong on the GPUs of a node, and for how long an instance is told of it. Time is an argument. */
import type { XidEvent } from "../gpu/xid-events.js";

export type GpuCondition = "GpuXid" | "MpsFault";

/**
 * An Xid is one moment; it is told for so long after it, which is what an operator's alert and the controller's guards
 * need to see it, and after which a GPU that works on is taken for healthy.
 */
export const XID_TOLD_MS = 600_000;

export class FaultMemory {
  private readonly xids = new Map<string, { readonly xid: number; readonly atMs: number }>();
  private faulted = false;

  noteXids(events: readonly XidEvent[], nowMs: number): void {
    for (const { gpu, xid } of events) this.xids.set(gpu, { xid, atMs: nowMs });
  }

  /** Of the node's MPS server: a fault reaches every client of it. */
  set mpsFaulted(faulted: boolean) {
    this.faulted = faulted;
  }

  get mpsFaulted(): boolean {
    return this.faulted;
  }

  /** Of an instance that uses these GPUs. */
  conditionsOf(gpus: readonly string[], nowMs: number): GpuCondition[] {
    if (gpus.length === 0) return [];
    const conditions: GpuCondition[] = [];
    if (gpus.some((gpu) => this.lastXid(gpu, nowMs) !== null)) conditions.push("GpuXid");
    if (this.faulted) conditions.push("MpsFault");
    return conditions;
  }

  /** null when there was none, or none lately. */
  lastXid(gpu: string, nowMs: number): number | null {
    const last = this.xids.get(gpu);
    return last && nowMs - last.atMs < XID_TOLD_MS ? last.xid : null;
  }
}
