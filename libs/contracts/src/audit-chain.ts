/**
 * The audit log's chain of hashes, checked from an export alone. A row's hash is SHA-256 over the row as one JSON array
 * that begins with the hash of the row before; the first row's is GENESIS. Pure: the hash function is an argument, so that
 * a browser can check with its own.
 */
import { z } from "zod";
import type { AuditEntry } from "./resources.js";

export const GENESIS = "0".repeat(64);

/** The row that says that a beginning of the chain was dropped, written in the transaction that drops it. */
export const RETENTION_ACTION = "audit.retention";
const dropped = z.object({ toSeq: z.int(), lastHash: z.string() });

export type Sha256 = (text: string) => string | Promise<string>;

/** What was exported earlier and kept elsewhere. */
export interface Checkpoint {
  readonly seq: number;
  readonly hash: string;
}

/** `seq` names the row at fault; for `missing` the first of those that are gone. */
export interface ChainFault {
  readonly seq: number;
  readonly kind:
    | "changed"
    | "moved"
    | "missing"
    | "repeated"
    | "unlinked"
    | "beginning"
    | "cut"
    | "rewritten";
  readonly message: string;
}

export interface ChainReport {
  readonly rows: number;
  readonly first: number | null;
  readonly last: Checkpoint | null;
  /** At most MAX_FAULTS of them; `faultCount` counts all. */
  readonly faults: readonly ChainFault[];
  readonly faultCount: number;
  /** The checkpoints that lay within what was read. */
  readonly checked: readonly Checkpoint[];
}

export const MAX_FAULTS = 100;

/** The text that is hashed. */
export function auditText(entry: Omit<AuditEntry, "hash">): string {
  const { prevHash, seq, at, actor, keyId, address, action, subject, before, after } = entry;
  return JSON.stringify([prevHash, seq, at, actor, keyId, address, action, subject, before, after]);
}

/** Reads the whole log once, oldest first. */
export async function verifyChain(
  entries: AsyncIterable<AuditEntry> | Iterable<AuditEntry>,
  sha256: Sha256,
  checkpoints: readonly Checkpoint[] = [],
): Promise<ChainReport> {
  const check = new ChainCheck(sha256, checkpoints);
  for await (const entry of entries) await check.take(entry);
  return check.report();
}

class ChainCheck {
  private rows = 0;
  private first: AuditEntry | null = null;
  private last: AuditEntry | null = null;
  private readonly faults: ChainFault[] = [];
  private faultCount = 0;
  private readonly changed: AuditEntry[] = [];
  private readonly retention = new Map<number, string>();
  private readonly checked: Checkpoint[] = [];

  constructor(
    private readonly sha256: Sha256,
    private readonly checkpoints: readonly Checkpoint[],
  ) {}

  async take(entry: AuditEntry): Promise<void> {
    const { last } = this;
    this.rows += 1;
    this.first ??= entry;
    this.last = entry;
    if ((await this.sha256(auditText(entry))) !== entry.hash) {
      if (this.changed.length < MAX_FAULTS) this.changed.push(entry);
      else this.faultCount += 1;
    } else if (entry.action === RETENTION_ACTION) {
      const told = dropped.safeParse(entry.after);
      if (told.success) this.retention.set(told.data.toSeq, told.data.lastHash);
    }
    if (last) this.link(last, entry);
    for (const checkpoint of this.checkpoints)
      if (checkpoint.seq === entry.seq) this.compare(checkpoint, entry);
  }

  async report(): Promise<ChainReport> {
    for (const entry of this.changed) await this.judge(entry);
    this.judgeBeginning();
    const { last } = this;
    for (const { seq } of this.checkpoints) {
      const isBefore = this.first !== null && seq < this.first.seq;
      if (last === null || seq > last.seq) {
        this.fault(seq, "cut", `the checkpoint has row ${seq}, the log ends at ${last?.seq ?? "none"}`);
      } else if (!isBefore && !this.checked.some((one) => one.seq === seq)) {
        this.fault(seq, "missing", `the checkpoint has row ${seq}, which is gone`);
      }
    }
    return {
      rows: this.rows,
      first: this.first?.seq ?? null,
      last: last && { seq: last.seq, hash: last.hash },
      faults: [...this.faults].sort((a, b) => a.seq - b.seq),
      faultCount: this.faultCount,
      checked: this.checked,
    };
  }

  private link(last: AuditEntry, entry: AuditEntry): void {
    if (entry.seq <= last.seq) {
      this.fault(entry.seq, "repeated", `row ${entry.seq} comes after row ${last.seq}`);
    } else if (entry.seq > last.seq + 1) {
      const gone =
        last.seq + 1 === entry.seq - 1
          ? `row ${last.seq + 1} is`
          : `rows ${last.seq + 1} to ${entry.seq - 1} are`;
      this.fault(last.seq + 1, "missing", `${gone} gone`);
    } else if (entry.prevHash !== last.hash) {
      const message = `row ${entry.seq} was made after another row ${last.seq} than the one that stands there now`;
      this.fault(entry.seq, "unlinked", message);
    }
  }

  private compare(checkpoint: Checkpoint, entry: AuditEntry): void {
    this.checked.push(checkpoint);
    if (entry.hash === checkpoint.hash) return;
    const message = `row ${entry.seq} is another than when the checkpoint was taken: the log was written anew up to there`;
    this.fault(entry.seq, "rewritten", message);
  }

  /** Its place in the log is hashed too: a row whose hash fits another number was moved. */
  private async judge(entry: AuditEntry): Promise<void> {
    for (const { seq } of this.changed) {
      if (seq === entry.seq || (await this.sha256(auditText({ ...entry, seq }))) !== entry.hash) continue;
      return this.fault(entry.seq, "moved", `row ${entry.seq} (${wordsOf(entry)}) stood at ${seq}`);
    }
    this.fault(
      entry.seq,
      "changed",
      `row ${entry.seq} (${wordsOf(entry)}) does not fit its hash: it was changed`,
    );
  }

  private judgeBeginning(): void {
    const { first } = this;
    if (first === null) return;
    if (first.seq === 1) {
      if (first.prevHash !== GENESIS) this.fault(1, "unlinked", "row 1 does not begin the chain");
      return;
    }
    const lastHash = this.retention.get(first.seq - 1);
    if (lastHash === first.prevHash) return;
    const why =
      lastHash === undefined ? "no row says that they were dropped" : "they were others than those dropped";
    this.fault(1, "beginning", `rows 1 to ${first.seq - 1} are gone, and ${why}`);
  }

  private fault(seq: number, kind: ChainFault["kind"], message: string): void {
    this.faultCount += 1;
    if (this.faults.length < MAX_FAULTS) this.faults.push({ seq, kind, message });
  }
}

function wordsOf({ at, actor, action, subject }: AuditEntry): string {
  return `${at}, ${actor}: ${action} ${subject}`;
}
