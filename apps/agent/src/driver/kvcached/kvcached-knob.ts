/** Moves the KV limit of one engine that runs with kvcached; the split stays. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";
import { releaseFileLock, tryFileLock } from "@fulcrum/kv-pool/file-lock.js";
import { DriverError, type DriverCapabilities, type Plan, type Verdict } from "../../partition-driver.js";
import { quantise } from "../quantise.js";
import { fixedSplitLimits } from "../staged/fixed-split.js";
import type { Knob, Move, Reading } from "../staged/knob.js";
import { fileError } from "../../files/replace-file.js";
import type { KvcachedConfig } from "./kvcached-config.js";
import {
  greatestLimit,
  heldBytes,
  leastLimit,
  limitOfPct,
  nextLimit,
  pctOfLimit,
  type QuotaUnits,
  roomBytes,
} from "./quota-rule.js";
import { changeLimit, readSegment, type SegmentReading } from "./segment.js";
import { type KnownSegment, SegmentMemory } from "./segment-memory.js";
import { segmentPlace } from "./segment-place.js";

/** Held while a growth is checked and written, by every agent of the node. */
const SHARE_LOCK = ".fulcrum-kvcached.lock";
const SHARE_LOCK_RETRY_MS = 2;
const GIB = 2 ** 30;

export class KvcachedKnob implements Knob {
  readonly appliesSlowly = false;
  private readonly memory: SegmentMemory;
  private readonly bundleBytes: number;

  /** `memoryPath`: where what is known of the segment is kept over agent restarts. */
  constructor(
    private readonly config: KvcachedConfig,
    memoryPath: string,
  ) {
    this.memory = new SegmentMemory(memoryPath);
    this.bundleBytes = config.pageBytes * config.layers * config.kvBuffers;
  }

  async probe(): Promise<DriverCapabilities> {
    const units = await this.unitsOf(await this.readOwn());
    const { startTotalBytes, bundleBytes } = units;
    if (startTotalBytes < 2 * bundleBytes) {
      const message = `the start-up total ${inGib(startTotalBytes)} is below two bundles of ${inGib(bundleBytes)}`;
      throw new DriverError("nothing_to_move", `${message}: check layers, kvBuffers and pageBytes`, false);
    }
    const limits = fixedSplitLimits(this.config.smPct, {
      minKvQuotaPct: pctOfLimit(leastLimit(units), units),
      maxKvQuotaPct: pctOfLimit(greatestLimit(units), units),
    });
    return { driver: "kvcached", live: true, limits, prepareMs: 0, smCount: null, roundingPct: 0 };
  }

  async read(): Promise<Reading> {
    const reading = await this.readOwn();
    const { bootId } = await this.knownOf(reading);
    const units = await this.unitsOf(reading);
    const kvQuotaPct = Math.min(100, Math.max(1, pctOfLimit(reading.limitBytes, units)));
    return { bootId, delivered: { split: this.split, kvQuotaPct } };
  }

  plan(target: GeneratedAllocation, capabilities: DriverCapabilities): Plan {
    const plan = quantise(target, capabilities);
    const units = this.lastUnits;
    if (units === null) return plan;
    const limitBytes = limitOfPct(plan.asked.kvQuotaPct, units);
    const kvQuotaPct = pctOfLimit(limitBytes, units);
    if (kvQuotaPct === plan.asked.kvQuotaPct) return plan;
    const adjusted = [
      ...plan.adjusted,
      `kvQuotaPct ${plan.asked.kvQuotaPct} -> ${kvQuotaPct} (whole bundles)`,
    ];
    return { ...plan, asked: { ...plan.asked, kvQuotaPct }, adjusted };
  }

  accept(): Promise<void> {
    return Promise.resolve();
  }

  async waitsFor(asked: Allocation): Promise<string | null> {
    const own = await this.readOwn();
    const targetBytes = limitOfPct(asked.kvQuotaPct, await this.unitsOf(own));
    return targetBytes > own.limitBytes ? this.whyNoRoom(targetBytes) : null;
  }

  async apply({ asked }: Move): Promise<void> {
    const own = await this.readOwn();
    const units = await this.unitsOf(own);
    const targetBytes = limitOfPct(asked.kvQuotaPct, units);
    if (targetBytes <= own.limitBytes || !this.config.share) return this.write(own, targetBytes);
    await this.alone(async () => {
      const why = await this.whyNoRoom(targetBytes);
      if (why !== null) throw new DriverError("no_room", why, true);
      await this.write(own, targetBytes);
    });
  }

  /** Goes on with a shrink that had to stop above what was in use. */
  async verify(plan: Plan): Promise<Verdict> {
    const before = await this.readOwn();
    const units = await this.unitsOf(before);
    const targetBytes = limitOfPct(plan.asked.kvQuotaPct, units);
    if (before.limitBytes > targetBytes) await this.write(before, targetBytes);
    const { limitBytes, usedBytes } = await this.readOwn();
    const kvQuotaPct = pctOfLimit(limitBytes, units);
    if (limitBytes < targetBytes) {
      return {
        kind: "not_delivered",
        message: `the limit is ${inGib(limitBytes)}, asked ${inGib(targetBytes)}`,
      };
    }
    if (limitBytes > targetBytes || usedBytes > limitBytes) {
      const why = `deferred: ${inGib(usedBytes)} in use, limit ${inGib(limitBytes)}, asked ${inGib(targetBytes)}`;
      return { kind: "pending", why };
    }
    return { kind: "delivered", delivered: { split: this.split, kvQuotaPct } };
  }

  close(): void {}

  private get split(): Allocation["split"] {
    return { prefillSmPct: this.config.smPct, decodeSmPct: this.config.smPct };
  }

  private lastUnits: QuotaUnits | null = null;

  private async readOwn(): Promise<SegmentReading> {
    return readSegment(await segmentPlace(this.config.segment, this.config));
  }

  private async write(seen: SegmentReading, targetBytes: number): Promise<void> {
    const { drain } = this.config;
    const next = nextLimit(targetBytes, seen, this.bundleBytes, drain);
    if (next === null) return;
    await this.memory.writing(seen.limitBytes, next);
    const place = await segmentPlace(this.config.segment, this.config);
    const after = await changeLimit(place, (reading) => {
      if (reading.identity !== seen.identity || reading.limitBytes !== seen.limitBytes) {
        throw new DriverError("unreachable", "the engine started again in between", true);
      }
      // Use may have grown since: then this step is too far down, and the next look takes another.
      const now = nextLimit(targetBytes, reading, this.bundleBytes, drain);
      return now === null || now > next ? null : next;
    });
    await this.memory.wrote(after.limitBytes);
  }

  private async unitsOf(reading: SegmentReading): Promise<QuotaUnits> {
    const { startTotalBytes } = await this.knownOf(reading);
    if (reading.usedBytes > startTotalBytes) {
      const from = this.config.startTotalBytes === undefined ? "" : " (driver.startTotalBytes)";
      const message = `${this.config.segment}: used must be at most the start-up total ${startTotalBytes}${from}, got ${reading.usedBytes}`;
      throw new DriverError("bad_answer", message, true);
    }
    const { restoreOneBundleShort } = this.config;
    this.lastUnits = { startTotalBytes, bundleBytes: this.bundleBytes, restoreOneBundleShort };
    return this.lastUnits;
  }

  /** What is configured wins over what was read. */
  private async knownOf(reading: SegmentReading): Promise<KnownSegment> {
    const known = await this.memory.know(reading);
    return { ...known, startTotalBytes: this.config.startTotalBytes ?? known.startTotalBytes };
  }

  private async whyNoRoom(targetBytes: number): Promise<string | null> {
    const { share } = this.config;
    if (!share) return null;
    const held: SegmentReading[] = [];
    for (const peer of share.peers) {
      // A peer that does not run holds nothing; one that cannot be read might hold anything.
      const reading = await segmentPlace(peer, this.config)
        .then(readSegment)
        .catch((error: unknown) => {
          if (error instanceof DriverError && error.code === "unreachable") return null;
          throw error;
        });
      if (reading) held.push(reading);
    }
    const room = roomBytes(share.budgetBytes, held);
    if (targetBytes <= room) return null;
    const others = held.map(heldBytes).map(inGib).join(" + ");
    return `${inGib(targetBytes)} do not fit yet: of ${inGib(share.budgetBytes)} the others hold ${others || "none"}`;
  }

  private async alone(work: () => Promise<void>): Promise<void> {
    const path = join(this.config.folder, SHARE_LOCK);
    const handle = await open(path, "a", 0o666).catch((error: NodeJS.ErrnoException) => {
      throw fileError(path, error);
    });
    const { lockTimeoutMs } = this.config;
    const giveUpAtMs = performance.now() + lockTimeoutMs;
    try {
      // Held across the readings of the peers, so not withFileLock; the kernel frees it should the agent die.
      while (!tryFileLock(handle.fd)) {
        if (performance.now() > giveUpAtMs) {
          throw new DriverError("timeout", `${path} stayed locked for ${lockTimeoutMs} ms`, true);
        }
        await setTimeout(SHARE_LOCK_RETRY_MS);
      }
      await work();
      releaseFileLock(handle.fd);
    } finally {
      await handle.close();
    }
  }
}

function inGib(bytes: number): string {
  return `${Math.round((bytes / GIB) * 1_000) / 1_000} GiB`;
}
