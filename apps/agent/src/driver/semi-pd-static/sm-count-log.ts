/**
 * The SM count that each worker of Semi-PD logs when it has its context: `[2026-11-23 10:00:00 PREFILL TP0] Available
 * SMs: 78` (main @2565f9f, semi_pd_scheduler.py:362-363, utils.py configure_logger). Under an MPS percentage it is the
 * capped count: the one sign that the cap took effect.
 */
import { open, stat } from "node:fs/promises";
import type { Split } from "@fulcrum/core/nouns.js";
import type { ReadBack } from "../restart/restart-knob.js";
import { DriverError } from "../../partition-driver.js";
import { fileError } from "../../files/replace-file.js";

const LINE = /\b(PREFILL|DECODE)\b(?: DP(\d+))?(?: TP(\d+))?\] Available SMs: (\d{1,5})\b/g;
const CHUNK_BYTES = 1_048_576;
/** A log that grew by more between two looks is read on at the next look. */
const MAX_CHUNKS = 8;
/** The longest line that may be cut at a chunk's end. */
const OVERLAP_BYTES = 512;

export class SmCountLog implements ReadBack {
  /** By role, then by rank. */
  private counts = { PREFILL: new Map<string, number>(), DECODE: new Map<string, number>() };
  private position = 0;
  private inode: number | null = null;

  constructor(
    private readonly path: string,
    private readonly smCount: number,
  ) {}

  readonly forget = async (): Promise<void> => {
    this.counts = { PREFILL: new Map(), DECODE: new Map() };
    const now = await stat(this.path).catch(() => null);
    this.position = now?.size ?? 0;
    this.inode = now?.ino ?? null;
  };

  /** null until both roles have logged. Of several ranks the least counts: the group is as fast as its slowest. */
  readonly read = async (): Promise<Split | null> => {
    await this.readOn();
    const { PREFILL, DECODE } = this.counts;
    if (PREFILL.size === 0 || DECODE.size === 0) return null;
    return { prefillSmPct: this.pctOf(PREFILL), decodeSmPct: this.pctOf(DECODE) };
  };

  private pctOf(ranks: ReadonlyMap<string, number>): number {
    const most = Math.max(...ranks.values());
    if (most > this.smCount) {
      const message = `${this.path}: a worker says ${most} SMs, driver.smCount is ${this.smCount}`;
      throw new DriverError("bad_answer", message, true);
    }
    const pct = (100 * Math.min(...ranks.values())) / this.smCount;
    return Math.max(1, Math.round(pct * 100) / 100);
  }

  private async readOn(): Promise<void> {
    let handle;
    try {
      handle = await open(this.path, "r");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      throw fileError(this.path, error as NodeJS.ErrnoException);
    }
    try {
      const { size, ino } = await handle.stat();
      // Rotated, or cut by the engine's start.
      if (ino !== this.inode || size < this.position) this.position = 0;
      this.inode = ino;
      const buffer = Buffer.alloc(CHUNK_BYTES);
      for (let chunk = 0; chunk < MAX_CHUNKS && this.position < size; chunk++) {
        const { bytesRead } = await handle.read(buffer, 0, CHUNK_BYTES, this.position);
        if (bytesRead === 0) return;
        this.take(buffer.toString("latin1", 0, bytesRead));
        const atEnd = this.position + bytesRead >= size;
        this.position += atEnd ? bytesRead : bytesRead - OVERLAP_BYTES;
      }
    } finally {
      await handle.close();
    }
  }

  private take(text: string): void {
    for (const [, role, dp = "0", tp = "0", count] of text.matchAll(LINE)) {
      if (Number(count) > 0) this.counts[role as "PREFILL" | "DECODE"].set(`${dp}/${tp}`, Number(count));
    }
  }
}
