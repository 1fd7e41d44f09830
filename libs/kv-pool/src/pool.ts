import { linkSync, rmSync, writeFileSync } from "node:fs";
import { roleUse } from "./accounting.js";
import { PoolError, SegmentError } from "./errors.js";
import {
  initialImage,
  MAX_COUNTER,
  OWNER_SLOTS,
  type PoolShape,
  type Role,
  ROLE,
  roleWord,
  SLOT,
  slotWord,
} from "./layout.js";
import { freeAllOf } from "./map.js";
import { OpenPool, type OwnerInfo } from "./open-pool.js";
import { checkTurn, PoolOwner } from "./owner.js";
import { ownIdentity } from "./process-identity.js";

/** How long joining, adopting, taking back and setting a quota wait for the file lock; it is held for microseconds. */
const LOCK_TIMEOUT_MS = 1_000;

export interface RoleUsage {
  /** Blocks charged: never fewer than its owners hold; more by what is being asked for, freed or handed over just now. */
  readonly usedBlocks: number;
  readonly quotaBlocks: number;
  readonly quotaRevision: number;
  readonly turn: number;
}

export interface PoolUsage {
  readonly blocks: number;
  readonly prefill: RoleUsage;
  readonly decode: RoleUsage;
}

/**
 * The KV block pool of one rank in shared memory (paper 4.4, Fig. 7): prefill and decode, two processes, take blocks of
 * one pool without a lock, and what a dead process held is found again. docs/kv-pool.md is the layout.
 */
export class KvPool {
  private constructor(private readonly pool: OpenPool) {}

  /**
   * Makes the file, whole or not at all, and opens it. All blocks are free, turns are 0, decode's quota is the whole pool.
   * @param path in /dev/shm for use; any file system with shared mappings for tests.
   * @param options.prefillQuotaBlocks the whole pool unless given.
   * @throws SegmentError bad_argument, exists (nothing is overwritten), io (no room, no such folder).
   */
  static create(path: string, options: PoolShape & { readonly prefillQuotaBlocks?: number }): KvPool {
    const image = initialImage(options, options.prefillQuotaBlocks ?? options.blocks);
    const draft = `${path}.${process.pid}.tmp`;
    try {
      // Written out and not only lengthened: a full /dev/shm is an error here and not a SIGBUS later.
      writeFileSync(draft, new Uint8Array(image.buffer), { mode: 0o600 });
      linkSync(draft, path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EEXIST") throw new SegmentError("exists", `${path}: there is a file already`);
      throw new SegmentError("io", `${path}: cannot be created: ${code ?? "?"}`);
    } finally {
      rmSync(draft, { force: true });
    }
    return KvPool.open(path);
  }

  /** @throws SegmentError not_found, wrong_size, bad_magic, bad_version, corrupt, io; naming the field and its bound. */
  static open(path: string, lockTimeoutMs: number = LOCK_TIMEOUT_MS): KvPool {
    return new KvPool(new OpenPool(path, lockTimeoutMs));
  }

  get shape(): PoolShape {
    return this.pool.shape;
  }

  /**
   * Joins as an owner of the role; it may allocate while the role's turn is `turn` (0 where turns are not used).
   * @throws PoolError bad_turn, no_slot (14 owners are in it: dead ones are not dropped unasked, as another may want to
   *   adopt what they held). FileLockError.
   */
  async attach(as: { readonly role: Role; readonly turn: number }): Promise<PoolOwner> {
    checkTurn(as.turn);
    const identity = ownIdentity();
    return this.pool.locked(() => {
      const { words } = this.pool;
      const slot = this.freeSlot();
      const at = slotWord(slot);
      // First: who is just reading the slot's last owner will see that this is another.
      Atomics.add(words, at + SLOT.joins, 1);
      Atomics.store(words, at + SLOT.pid, identity.pid);
      Atomics.store(words, at + SLOT.startLow, identity.start | 0);
      Atomics.store(words, at + SLOT.startHigh, Math.floor(identity.start / 2 ** 32));
      Atomics.store(words, at + SLOT.pidNamespace, identity.pidNamespace | 0);
      Atomics.store(words, at + SLOT.turn, as.turn);
      // No 0 in either: a sum that has read the old `moved` would find the new `charged` below it, and itself negative.
      Atomics.store(words, at + SLOT.charged, Atomics.load(words, at + SLOT.moved));
      // From here on it is an owner. Killed before this, it never was.
      Atomics.or(words, roleWord(as.role) + ROLE.owners, 1 << slot);
      return new PoolOwner(this.pool, slot, as.role, as.turn);
    });
  }

  /** Read without a lock, at any time, by anyone. */
  usage(): PoolUsage {
    return {
      blocks: this.shape.blocks,
      prefill: this.roleUsage("prefill"),
      decode: this.roleUsage("decode"),
    };
  }

  /** Who is in the pool, dead or alive. */
  owners(): OwnerInfo[] {
    return this.pool.owners();
  }

  /**
   * Sets a role's quota, 0..blocks. Nothing is ever revoked: `deferred` says that the role still uses more, and gets no
   * more until it does not. `stale`: the revision is not above the last one (the same call once more is not stale).
   * @throws PoolError bad_quota. FileLockError.
   */
  async setQuota(role: Role, blocks: number, revision: number): Promise<"applied" | "deferred" | "stale"> {
    if (!Number.isInteger(blocks) || blocks < 0 || blocks > this.shape.blocks)
      throw new PoolError("bad_quota", `quota must be 0..${this.shape.blocks} blocks, got ${blocks}`);
    if (!Number.isInteger(revision) || revision < 1 || revision > MAX_COUNTER)
      throw new PoolError("bad_quota", `revision must be 1..${MAX_COUNTER}, got ${revision}`);
    return this.pool.locked(() => {
      const { words } = this.pool;
      const at = roleWord(role);
      const last = Atomics.load(words, at + ROLE.revision);
      const repeated = revision === last && blocks === Atomics.load(words, at + ROLE.quota);
      if (revision <= last && !repeated) return "stale";
      // The quota first: killed in between, the same revision is taken once more.
      Atomics.store(words, at + ROLE.quota, blocks);
      Atomics.store(words, at + ROLE.revision, revision);
      return roleUse(words, at) > blocks ? "deferred" : "applied";
    });
  }

  /**
   * Finds owners whose process is gone, frees what they held and their slots. Any process may call it at any time, also
   * several at once. Whoever means to go on with a dead owner's blocks calls PoolOwner.adoptAll first.
   * @returns the owners that were dropped; `blocks` is what was found in their name. @throws FileLockError.
   */
  async reclaimDead(): Promise<OwnerInfo[]> {
    return this.pool.locked(() => {
      const gone = this.pool.owners().filter((owner) => owner.state === "gone");
      return gone.map((owner) => {
        const blocks = freeAllOf(this.pool.words, owner.slot + 1);
        this.pool.drop(owner.slot);
        return { ...owner, blocks };
      });
    });
  }

  turn(role: Role): number {
    return Atomics.load(this.pool.words, roleWord(role) + ROLE.turn);
  }

  /** Passes the turn on, in one compare-and-set. @returns false when it was not `from`. @throws PoolError bad_turn. */
  passTurn(role: Role, from: number, to: number): boolean {
    checkTurn(from);
    checkTurn(to);
    if (to <= from) throw new PoolError("bad_turn", `the turn only grows: ${to} is not above ${from}`);
    return Atomics.compareExchange(this.pool.words, roleWord(role) + ROLE.turn, from, to) === from;
  }

  /** Makes the turn `to` if it is lower (`iterate` with `take`). @returns whether it did. @throws PoolError bad_turn. */
  takeTurn(role: Role, to: number): boolean {
    checkTurn(to);
    for (;;) {
      const seen = this.turn(role);
      if (seen >= to) return false;
      if (this.passTurn(role, seen, to)) return true;
    }
  }

  /**
   * Gives back the file and its mapping; may be repeated. Detach the owners before: what they hold stays theirs. Every
   * later call of this pool and its owners throws PoolError closed.
   */
  close(): void {
    this.pool.close();
  }

  private roleUsage(role: Role): RoleUsage {
    const { words } = this.pool;
    const at = roleWord(role);
    // Before the quota, which is written first: never a new revision with the quota before it.
    const quotaRevision = Atomics.load(words, at + ROLE.revision);
    return {
      usedBlocks: roleUse(words, at),
      quotaBlocks: Atomics.load(words, at + ROLE.quota),
      quotaRevision,
      turn: Atomics.load(words, at + ROLE.turn),
    };
  }

  private freeSlot(): number {
    for (let slot = 0; slot < OWNER_SLOTS; slot += 1) if (this.pool.roleOf(slot) === undefined) return slot;
    const pids = this.pool
      .owners()
      .map((owner) => `${owner.process.pid}${owner.state === "gone" ? " (gone)" : ""}`);
    throw new PoolError("no_slot", `all ${OWNER_SLOTS} owner slots are taken, by pids ${pids.join(", ")}`);
  }
}
