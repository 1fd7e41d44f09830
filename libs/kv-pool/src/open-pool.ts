import { readSync } from "node:fs";
import { slotUse } from "./accounting.js";
import { recoverAdoption } from "./adoption.js";
import { PoolError } from "./errors.js";
import { withFileLock } from "./file-lock.js";
import {
  HEADER_WORDS,
  MAP_WORD,
  OWNER_SLOTS,
  type PoolShape,
  readShape,
  type Role,
  ROLE,
  ROLES,
  roleWord,
  SLOT,
  slotWord,
} from "./layout.js";
import { liveness, type ProcessIdentity } from "./process-identity.js";
import { mapChecked, type Segment } from "./segment.js";

/** Looks at one slot; each that fails needs an owner to leave and another to join in between. */
const MAX_LOOKS = 16;

/** An owner and no later one of the same slot, whose number alone recurs. */
export interface OwnerRef {
  readonly slot: number;
  /** The slot's count of joins when it joined. */
  readonly joins: number;
}

/** An owner as the segment names it. */
export interface OwnerInfo extends OwnerRef {
  readonly role: Role;
  readonly turn: number;
  readonly process: ProcessIdentity;
  /** "unknown": of another pid namespace. Only what is "gone" is ever taken back. */
  readonly state: "alive" | "gone" | "unknown";
  /** Blocks charged to it: at least what it holds. */
  readonly blocks: number;
}

/** A mapped and checked segment, and who is in it: what the pool and its owners share. */
export class OpenPool {
  readonly shape: PoolShape;
  readonly mapWords: number;
  /** Set by `close`; what keeps `words` of its own looks at it before each use. */
  closed = false;
  private readonly segment: Segment;
  private readonly view: Int32Array;
  /** Calls that wait for the file lock or hold it: the descriptor is theirs until they end. */
  private pending = 0;

  /** @throws SegmentError. */
  constructor(
    path: string,
    private readonly lockTimeoutMs: number,
  ) {
    const { segment, checked } = mapChecked(path, (fd, bytes) => {
      const header = new Int32Array(HEADER_WORDS);
      readSync(fd, header, 0, header.byteLength, 0);
      return readShape(path, header, bytes);
    });
    this.segment = segment;
    this.shape = checked;
    this.view = new Int32Array(segment.buffer);
    this.mapWords = this.view.length - MAP_WORD;
  }

  /** @throws PoolError closed. */
  get words(): Int32Array {
    this.mustBeOpen();
    return this.view;
  }

  /** @throws PoolError closed. */
  mustBeOpen(): void {
    if (this.closed) throw new PoolError("closed", `${this.segment.path}: this pool was closed`);
  }

  /**
   * Runs what must not run in two processes at once: joining, adopting, taking back, setting quotas. First finishes
   * the books of an adoption that was killed half way. @throws FileLockError. PoolError closed, also where it was closed
   * while this waited.
   */
  async locked<T>(action: () => T): Promise<T> {
    this.mustBeOpen();
    this.pending += 1;
    try {
      return await withFileLock(this.segment.fd, this.lockTimeoutMs, () => {
        recoverAdoption(this.words);
        return action();
      });
    } finally {
      this.pending -= 1;
      if (this.closed) this.close();
    }
  }

  roleOf(slot: number): Role | undefined {
    return ROLES.find((role) => (Atomics.load(this.words, roleWord(role) + ROLE.owners) & (1 << slot)) !== 0);
  }

  /** Without the lock too: what it gives is of one owner, and not half of the one that joined meanwhile. */
  ownerAt(slot: number): OwnerInfo | undefined {
    const joinsAt = slotWord(slot) + SLOT.joins;
    for (let look = 0; look < MAX_LOOKS; look += 1) {
      const joins = Atomics.load(this.words, joinsAt);
      const role = this.roleOf(slot);
      if (role === undefined) return undefined;
      const record = this.recordOf(slot);
      if (Atomics.load(this.words, joinsAt) !== joins) continue;
      return { slot, joins: joins >>> 0, role, ...record, state: liveness(record.process) };
    }
    return undefined;
  }

  private recordOf(slot: number): Pick<OwnerInfo, "process" | "turn" | "blocks"> {
    const { words } = this;
    const at = slotWord(slot);
    const process = {
      pid: Atomics.load(words, at + SLOT.pid),
      start:
        (Atomics.load(words, at + SLOT.startHigh) >>> 0) * 2 ** 32 +
        (Atomics.load(words, at + SLOT.startLow) >>> 0),
      pidNamespace: Atomics.load(words, at + SLOT.pidNamespace) >>> 0,
    };
    return { process, turn: Atomics.load(words, at + SLOT.turn), blocks: slotUse(words, slot) };
  }

  owners(): OwnerInfo[] {
    const found: OwnerInfo[] = [];
    for (let slot = 0; slot < OWNER_SLOTS; slot += 1) {
      const owner = this.ownerAt(slot);
      if (owner !== undefined) found.push(owner);
    }
    return found;
  }

  /** Under the lock. @returns its slot and role. @throws PoolError no_such_owner. */
  mustHaveOwner(of: number | OwnerRef): { slot: number; role: Role } {
    const slot = typeof of === "number" ? of : of.slot;
    const role = Number.isInteger(slot) && slot >= 0 && slot < OWNER_SLOTS ? this.roleOf(slot) : undefined;
    if (role === undefined)
      throw new PoolError("no_such_owner", `no owner in slot ${slot} (slots are 0..${OWNER_SLOTS - 1})`);
    const joins = Atomics.load(this.words, slotWord(slot) + SLOT.joins) >>> 0;
    if (typeof of !== "number" && of.joins !== joins)
      throw new PoolError(
        "no_such_owner",
        `slot ${slot} has another owner since: join ${joins}, not ${of.joins}`,
      );
    return { slot, role };
  }

  /** @throws PoolError owner_active while the owner lives, or may, and its turn is on. */
  mustBeIdle(slot: number): void {
    const owner = this.ownerAt(slot);
    if (owner === undefined || owner.state === "gone") return;
    if (Atomics.load(this.words, roleWord(owner.role) + ROLE.turn) === owner.turn)
      throw new PoolError(
        "owner_active",
        `slot ${slot} (pid ${owner.process.pid}) may be allocating: ${owner.role}'s turn is still ${owner.turn}`,
      );
  }

  /** Under the lock, of a slot that holds nothing. */
  dropIfGone(slot: number): void {
    if (this.ownerAt(slot)?.state === "gone") this.drop(slot);
  }

  /** Makes the slot free: the last step of taking back, after which nothing of its owner is left. */
  drop(slot: number): void {
    for (const role of ROLES) Atomics.and(this.words, roleWord(role) + ROLE.owners, ~(1 << slot));
  }

  /** Every later use throws `closed`. What waits for the file lock just now throws it too, when its wait is over. */
  close(): void {
    this.closed = true;
    if (this.pending === 0) this.segment.unmap();
  }
}
