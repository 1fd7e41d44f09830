import type { Window } from "@fulcrum/core/nouns.js";
import type { UnnumberedWindow } from "./close-window.js";

/** Kept per instance while the controller is away: 32 s at the default window, the contract's bound per report. */
export const MAX_BUFFERED_WINDOWS = 32;
/** Sent per instance and report: enough to make up for lost reports, small enough to keep reports small. */
export const MAX_WINDOWS_PER_SEND = 5;

/** Numbered windows of one instance that the controller has not acknowledged, oldest first. */
export class WindowBuffer {
  private windows: Window[] = [];
  private dropped = 0;

  constructor(private nextSeq: number) {}

  get next(): number {
    return this.nextSeq;
  }
  get size(): number {
    return this.windows.length;
  }
  /** Windows that were pushed out unacknowledged, or that the controller would not take. */
  get droppedCount(): number {
    return this.dropped;
  }

  push(window: UnnumberedWindow): void {
    this.windows.push({ seq: this.nextSeq, ...window });
    this.nextSeq += 1;
    if (this.windows.length > MAX_BUFFERED_WINDOWS) {
      this.windows.shift();
      this.dropped += 1;
    }
  }

  /** Oldest first: the controller takes an acknowledged number to cover all lower ones. */
  head(): readonly Window[] {
    return this.windows.slice(0, MAX_WINDOWS_PER_SEND);
  }

  acknowledge(lastSeq: number): void {
    this.windows = this.windows.filter((window) => window.seq > lastSeq);
  }

  /** Drops what the controller will never take, so that it does not hold up what follows. */
  reject(lastSeq: number): void {
    const before = this.windows.length;
    this.acknowledge(lastSeq);
    this.dropped += before - this.windows.length;
  }

  /**
   * The controller already has windows up to `lastSeq`. When these came from this process they are
   * acknowledged; when they are from an earlier life whose journal is lost, the buffer is numbered anew.
   */
  startAfter(lastSeq: number): void {
    if (lastSeq < this.nextSeq) return this.acknowledge(lastSeq);
    this.windows = this.windows.map((window, index) => ({ ...window, seq: lastSeq + 1 + index }));
    this.nextSeq = lastSeq + 1 + this.windows.length;
  }
}
