import { slotUse } from "./accounting.js";
import { recoverAdoption } from "./adoption.js";
import { PoolError } from "./errors.js";
import { withFileLock } from "./file-lock.js";
import {
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
import { mapSegment, type Segment } from "./segment.js";

/** An owner as the segment names it. */
export interface OwnerInfo {
  readonly slot: number;
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
  readonly words: Int32Array;
  readonly shape: PoolShape;
  readonly mapWords: number;
  private readonly segment: Segment;

  /** @throws SegmentError. */
  constructor(
    path: string,
    private readonly lockTimeoutMs: number,
  ) {
    this.segment = mapSegment(path);
    try {
      const { buffer } = this.segment;
      this.words = new Int32Array(buffer, 0, buffer.byteLength >> 2);
      this.shape = readShape(path, this.words, buffer.byteLength);
      this.mapWords = this.words.length - MAP_WORD;
    } catch (error) {
      this.segment.close();
      throw error;
    }
  }

  /**
   * Runs what must not run in two processes at once: joining, adopting, taking back, setting quotas. First finishes
   * the books of an adoption that was killed half way. @throws FileLockError.
   */
  locked<T>(action: () => T): Promise<T> {
    return withFileLock(this.segment.fd, this.lockTimeoutMs, () => {
      recoverAdoption(this.words);
      return action();
    });
  }

  roleOf(slot: number): Role | undefined {
    return ROLES.find((role) => (Atomics.load(this.words, roleWord(role) + ROLE.owners) & (1 << slot)) !== 0);
  }

  ownerAt(slot: number): OwnerInfo | undefined {
    const role = this.roleOf(slot);
    if (role === undefined) return undefined;
    const { words } = this;
    const at = slotWord(slot);
    const process = {
      pid: Atomics.load(words, at + SLOT.pid),
      start:
        (Atomics.load(words, at + SLOT.startHigh) >>> 0) * 2 ** 32 +
        (Atomics.load(words, at + SLOT.startLow) >>> 0),
      pidNamespace: Atomics.load(words, at + SLOT.pidNamespace) >>> 0,
    };
    const turn = Atomics.load(words, at + SLOT.turn);
    return { slot, role, turn, process, state: liveness(process), blocks: slotUse(words, slot) };
  }

  owners(): OwnerInfo[] {
    const found: OwnerInfo[] = [];
    for (let slot = 0; slot < OWNER_SLOTS; slot += 1) {
      const owner = this.ownerAt(slot);
      if (owner !== undefined) found.push(owner);
    }
    return found;
  }

  /** @returns its role. @throws PoolError no_such_owner. */
  mustHaveOwner(slot: number): Role {
    const role = Number.isInteger(slot) && slot >= 0 && slot < OWNER_SLOTS ? this.roleOf(slot) : undefined;
    if (role === undefined)
      throw new PoolError("no_such_owner", `no owner in slot ${slot} (slots are 0..${OWNER_SLOTS - 1})`);
    return role;
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

  close(): void {
    this.segment.close();
  }
}
