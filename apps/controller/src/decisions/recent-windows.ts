import type { Histogram, Window } from "@fulcrum/core/nouns.js";
import { sameBounds } from "@fulcrum/core/signal/histogram.js";
import { Injectable } from "@nestjs/common";

/** As many as a decision reads from the database at most. */
export const MAX_WINDOWS = 512;
/** Instances that one replica remembers; past this the longest unused are forgotten and read again when due. */
const MAX_INSTANCES = 4_096;
/** Sets of histogram bounds that are shared; a fleet has a handful. */
const MAX_BOUNDS = 32;

interface Remembered {
  /** Windows with a sequence number up to this one that the database holds are here, back to `completeFromMs`. */
  lastSeq: number;
  completeFromMs: number;
  windows: Window[];
}

/**
 * The newest windows of the instances whose reports come to this replica, so that a decision need not read
 * back what it has just stored. Only a saving: the database's last sequence number tells whether another
 * replica stored windows in between, and then they are read from there.
 */
@Injectable()
export class RecentWindows {
  private readonly byInstance = new Map<string, Remembered>();
  private readonly examples: Histogram[] = [];

  /** Windows that this replica stored: those after `previousSeq`, which was the last before them. */
  append(instanceId: string, previousSeq: number, windows: readonly Window[], keepMs: number): void {
    const remembered = this.byInstance.get(instanceId);
    if (!remembered) return;
    if (remembered.lastSeq !== previousSeq) {
      this.byInstance.delete(instanceId);
      return;
    }
    for (const window of windows) {
      if (window.seq <= remembered.lastSeq) continue;
      remembered.windows.push(this.shared(window));
      remembered.lastSeq = window.seq;
    }
    this.trim(remembered, (remembered.windows.at(-1)?.endAtMs ?? 0) - keepMs);
  }

  /** What was read from the database: every window up to `lastSeq` that is younger than `completeFromMs`. */
  seed(instanceId: string, lastSeq: number, completeFromMs: number, windows: readonly Window[]): void {
    if (this.byInstance.size >= MAX_INSTANCES) this.byInstance.delete(this.byInstance.keys().next().value!);
    this.byInstance.set(instanceId, {
      lastSeq,
      completeFromMs,
      windows: windows.map((window) => this.shared(window)),
    });
  }

  /** The windows since `sinceMs`, oldest first; null when they must be read from the database. */
  since(instanceId: string, lastSeq: number, sinceMs: number): readonly Window[] | null {
    const remembered = this.byInstance.get(instanceId);
    if (!remembered || remembered.lastSeq !== lastSeq || remembered.completeFromMs > sinceMs) return null;
    // Moved to the end: the map's order is the order of use.
    this.byInstance.delete(instanceId);
    this.byInstance.set(instanceId, remembered);
    return remembered.windows;
  }

  private trim(remembered: Remembered, oldestMs: number): void {
    const { windows } = remembered;
    let drop = Math.max(0, windows.length - MAX_WINDOWS);
    while (drop < windows.length && windows[drop]!.endAtMs < oldestMs) drop += 1;
    if (drop === 0) return;
    remembered.completeFromMs = Math.max(remembered.completeFromMs, windows[drop - 1]!.endAtMs);
    windows.splice(0, drop);
  }

  /** The same window with its bounds shared: they are half of its memory, and the same for a whole fleet. */
  private shared(window: Window): Window {
    return {
      ...this.sharedIn(window),
      ...(window.classes && { classes: window.classes.map((each) => this.sharedIn(each)) }),
    };
  }

  private sharedIn<T extends Pick<Window, "ttft" | "tpot">>(of: T): T {
    return { ...of, ttft: this.sharedBounds(of.ttft), tpot: this.sharedBounds(of.tpot) };
  }

  private sharedBounds(histogram: Histogram): Histogram {
    const known = this.examples.find((example) => sameBounds(example, histogram));
    if (known) return { ...histogram, boundsMs: known.boundsMs };
    if (this.examples.length < MAX_BOUNDS) this.examples.push(histogram);
    return histogram;
  }
}
