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
const droppedRows = z.object({ rows: z.int(), fromSeq: z.int(), toSeq: z.int(), lastHash: z.string() });
const DROPPED_MONTH = /^audit\/(\d{4}-\d{2})$/;
/** As each row's time is written. What is in the database to the microsecond, before our era or never is no such one. */
const WRITTEN_AT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

export type Sha256 = (text: string) => string | Promise<string>;

/** What was exported earlier and kept elsewhere. */
export const checkpoint = z
  .object({ seq: z.int().min(0), hash: z.string().regex(/^[0-9a-f]{64}$/, "must be 64 hexadecimal digits") })
  .readonly();
export type Checkpoint = z.infer<typeof checkpoint>;

/** The beginning that is gone, and the row that says so. */
export interface DroppedBeginning {
  readonly toSeq: number;
  readonly toldBy: number;
  readonly at: string;
  readonly actor: string;
  readonly subject: string;
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
    | "retention"
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
  /** Rows before `first`: nobody can check them any more. Null: there are none, or no row accounts for them (a fault). */
  readonly dropped: DroppedBeginning | null;
  /** The checkpoints whose row was read, or was the last of a dropped month. */
  readonly checked: readonly Checkpoint[];
  /** The checkpoints whose row was dropped: they show nothing. */
  readonly unchecked: readonly Checkpoint[];
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

/** What a report without faults still does not show, one sentence each. */
export function limitsOf({ last, dropped, checked, unchecked, faults }: ChainReport): string[] {
  const told: string[] = [];
  if (dropped) {
    const { toSeq, at, actor, toldBy, subject } = dropped;
    told.push(
      `rows 1 to ${toSeq} were dropped at ${at} by ${actor} (row ${toldBy}, ${subject}): not checked`,
    );
  }
  for (const { seq } of unchecked)
    told.push(`checkpoint ${seq} could not be checked: its row was dropped with the beginning`);
  const newest = Math.max(0, ...checked.map(({ seq }) => seq));
  if (last && newest < last.seq && !faults.some(({ kind }) => kind === "cut")) {
    const none =
      unchecked.length === 0 ? "without a checkpoint" : "without a checkpoint of the rows that are left";
    const since = newest === 0 ? none : `after the newest checkpoint, row ${newest},`;
    told.push(`${since} nothing shows that the end was not cut off, or all of it written anew`);
  }
  return told;
}

class ChainCheck {
  private rows = 0;
  private first: AuditEntry | null = null;
  private last: AuditEntry | null = null;
  private readonly faults: ChainFault[] = [];
  private faultCount = 0;
  private readonly changed: AuditEntry[] = [];
  /** By the last number that went. */
  private readonly retention = new Map<number, { readonly entry: AuditEntry; readonly lastHash: string }>();
  private readonly checked: Checkpoint[] = [];
  private readonly checkpoints: readonly Checkpoint[];

  constructor(
    private readonly sha256: Sha256,
    checkpoints: readonly Checkpoint[],
  ) {
    // Of an empty log there is one that says nothing.
    this.checkpoints = checkpoints.filter(({ seq }) => seq > 0);
  }

  async take(entry: AuditEntry): Promise<void> {
    this.rows += 1;
    const odd = oddityOf(entry);
    if (odd !== null) this.fault(entry.seq, "changed", `row ${numberOf(entry)} (${wordsOf(entry)}) ${odd}`);
    // It has no place in the chain: what is before and after it is judged without it.
    if (entry.seq < 1 || entry.stored?.["seq"] !== undefined) return;
    const { last } = this;
    this.first ??= entry;
    this.last = entry;
    if ((await this.sha256(auditText(entry))) === entry.hash) this.takeRetention(entry);
    else if (odd === null) {
      if (this.changed.length < MAX_FAULTS) this.changed.push(entry);
      else this.faultCount += 1;
    }
    if (last) this.link(last, entry);
    for (const checkpoint of this.checkpoints)
      if (checkpoint.seq === entry.seq) this.compare(checkpoint, entry.hash);
  }

  async report(): Promise<ChainReport> {
    for (const entry of this.changed) await this.judge(entry);
    const dropped = this.judgeBeginning();
    const { first, last } = this;
    const unchecked: Checkpoint[] = [];
    for (const checkpoint of this.checkpoints) {
      const { seq } = checkpoint;
      const toldHash = this.retention.get(seq)?.lastHash;
      if (last === null || seq > last.seq) {
        this.fault(seq, "cut", `the checkpoint has row ${seq}, the log ends at ${last?.seq ?? "none"}`);
      } else if (first !== null && seq < first.seq) {
        if (toldHash === undefined) unchecked.push(checkpoint);
        else this.compare(checkpoint, toldHash);
      } else if (!this.checked.some((one) => one.seq === seq)) {
        this.fault(seq, "missing", `the checkpoint has row ${seq}, which is gone`);
      }
    }
    return {
      rows: this.rows,
      first: first?.seq ?? null,
      last: last && { seq: last.seq, hash: last.hash },
      faults: [...this.faults].sort((a, b) => a.seq - b.seq),
      faultCount: this.faultCount,
      dropped,
      checked: this.checked,
      unchecked,
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

  private compare(checkpoint: Checkpoint, hash: string): void {
    this.checked.push(checkpoint);
    const { seq } = checkpoint;
    if (hash === checkpoint.hash) return;
    const message = `row ${seq} is another than when the checkpoint was taken: the log was written anew up to there`;
    this.fault(seq, "rewritten", message);
  }

  /** A month is dropped when it is over, whole and in order; a row that says otherwise was not written by a controller. */
  private takeRetention(entry: AuditEntry): void {
    if (entry.action !== RETENTION_ACTION) return;
    const told = droppedRows.safeParse(entry.after);
    const month = DROPPED_MONTH.exec(entry.subject)?.[1];
    if (!told.success || month === undefined) {
      this.fault(
        entry.seq,
        "retention",
        `row ${entry.seq} does not say which rows were dropped of which month`,
      );
      return;
    }
    const { rows, fromSeq, toSeq, lastHash } = told.data;
    const says = `row ${entry.seq} says that rows ${fromSeq} to ${toSeq} of ${month} were dropped`;
    if (month >= entry.at.slice(0, 7))
      this.fault(entry.seq, "retention", `${says} at ${entry.at}: that month was not over`);
    if (fromSeq < 1 || toSeq >= entry.seq || rows !== toSeq - fromSeq + 1)
      this.fault(entry.seq, "retention", `${says}, ${rows} of them: that was no whole beginning`);
    if (!this.retention.has(toSeq)) this.retention.set(toSeq, { entry, lastHash });
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

  private judgeBeginning(): DroppedBeginning | null {
    const { first } = this;
    if (first === null) return null;
    if (first.seq === 1) {
      if (first.prevHash !== GENESIS) this.fault(1, "unlinked", "row 1 does not begin the chain");
      return null;
    }
    const toSeq = first.seq - 1;
    const told = this.retention.get(toSeq);
    const gone = `rows 1 to ${toSeq} are gone`;
    if (told === undefined) {
      this.fault(1, "beginning", `${gone}, and no row says that they were dropped`);
      return null;
    }
    const { at, actor, subject, seq: toldBy } = told.entry;
    if (told.lastHash !== first.prevHash)
      this.fault(1, "beginning", `${gone}, and they were others than those dropped`);
    // The first row of a month is, by its own time, of that month or a later one (see append_audit).
    else if (first.at.slice(0, 7) <= subject.slice(-7)) {
      const message = `${gone}, and row ${first.seq} is of ${first.at.slice(0, 7)} too: not whole months were dropped`;
      this.fault(1, "beginning", message);
    }
    return { toSeq, toldBy, at, actor, subject };
  }

  private fault(seq: number, kind: ChainFault["kind"], message: string): void {
    this.faultCount += 1;
    if (this.faults.length < MAX_FAULTS) this.faults.push({ seq, kind, message });
  }
}

function wordsOf({ at, actor, action, subject }: AuditEntry): string {
  return `${at}, ${actor}: ${action} ${subject}`;
}

/** The number as it stands in the database. */
function numberOf({ seq, stored }: AuditEntry): string {
  return stored?.["seq"] ?? String(seq);
}

/** What no controller has written, whatever its hash says; null: nothing of that kind. */
function oddityOf({ seq, at, stored }: AuditEntry): string | null {
  const [column] = Object.entries(stored ?? {});
  if (column) return `holds ${column[1] ?? "a null"} as its ${column[0]}: it was changed`;
  if (seq < 1) return "has a number below 1: it was changed";
  return WRITTEN_AT.test(at) ? null : "has a time that is none to the millisecond: it was changed";
}
