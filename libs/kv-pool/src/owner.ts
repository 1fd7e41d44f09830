import { roleUse, slotUse } from "./accounting.js";
import { adoptFields } from "./adoption.js";
import { BlockList } from "./block-list.js";
import { claimWord, giveUp, writeBlocks, writeWord } from "./claim.js";
import { PoolError } from "./errors.js";
import { countFields, fieldsOf, lowestFields } from "./fields.js";
import { MAP_WORD, MAX_COUNTER, OWNER_SLOTS, type Role, ROLE, roleWord, SLOT, slotWord } from "./layout.js";
import { freeAllOf, replaceFields } from "./map.js";
import type { OpenPool, OwnerRef } from "./open-pool.js";

/**
 * - `no_room`: fewer than n blocks are free.
 * - `over_quota`: the role would hold more than its quota.
 * - `stale_turn`: the role's turn is not this owner's, any more or yet.
 * Refused because of what another owner is asking for at the same instant, and may be refused too: ask again later.
 */
export type AllocateResult = "ok" | "no_room" | "over_quota" | "stale_turn";

/** Words of the map to look at between two looks at the sum of both roles, which is on other processes' lines. */
const WORDS_PER_COUNT = 64;
/** A search that the count says must succeed loses only to frees behind it and takes in front of it. */
const MAX_LAPS = 4;

/**
 * One process's part in the pool: takes, frees and adopts blocks. Belongs to one thread; allocate and free use no lock,
 * no system call and no memory of their own.
 */
export class PoolOwner {
  private readonly words: Int32Array;
  private readonly id: number;
  private readonly at: number;
  private readonly roleAt: number;
  private readonly list: BlockList;
  private readonly scratch = new Int32Array(OWNER_SLOTS);
  /** The slot's count when this owner joined: with the slot it names this owner and none after it. */
  readonly joins: number;
  private charged: number;
  private hint: number;
  private attached = true;
  private ownTurn: number;

  /** Made by KvPool.attach. */
  constructor(
    private readonly pool: OpenPool,
    readonly slot: number,
    readonly role: Role,
    turn: number,
  ) {
    this.words = pool.words;
    this.id = slot + 1;
    this.at = slotWord(slot);
    this.roleAt = roleWord(role);
    this.list = new BlockList(pool.words, pool.shape.blocks);
    this.ownTurn = turn;
    this.joins = Atomics.load(this.words, this.at + SLOT.joins) >>> 0;
    this.charged = Atomics.load(this.words, this.at + SLOT.charged);
    // Owners start apart, so that two seldom want the same word.
    this.hint = Math.floor((pool.mapWords * ((slot * 5) % 14)) / 14);
  }

  get turn(): number {
    return this.ownTurn;
  }

  /** Blocks that it holds; exact between its own calls; 0 after `detach`. @throws PoolError closed. */
  get held(): number {
    if (!this.attached) return 0;
    this.pool.mustBeOpen();
    return slotUse(this.words, this.slot);
  }

  /** This owner may allocate when, and as long as, the role's turn is `turn`. @throws PoolError bad_turn, detached, closed. */
  arm(turn: number): void {
    this.mustBeAttached();
    checkTurn(turn);
    this.ownTurn = turn;
    Atomics.store(this.words, this.at + SLOT.turn, turn);
  }

  /**
   * Takes n blocks, all or none, and writes their numbers to out[0..n). What is free is found out by taking it (paper
   * 4.4: query, take and update as one step), each block by one compare-and-set that also names the owner: there is no
   * instant at which a process can be killed and a block be lost.
   * @throws PoolError bad_count (n not 1..out.length), detached, closed.
   */
  allocate(n: number, out: Uint32Array): AllocateResult {
    if (!(n >= 1 && n <= out.length) || !Number.isInteger(n)) throw badCount(n, out.length);
    const { words, roleAt } = this;
    if (words[roleAt + ROLE.turn] !== this.ownTurn || !this.attached || this.pool.closed) {
      this.mustBeAttached();
      return "stale_turn";
    }
    // Charge first, then compare, in that order everywhere: of two who ask at once at least one sees both.
    this.charge(n);
    const quota = Atomics.load(words, roleAt + ROLE.quota);
    if (this.roleUse() > quota) {
      this.charge(-n);
      return quota < this.pool.shape.blocks ? "over_quota" : "no_room";
    }
    const got = this.claim(n, out);
    // Looked at again: a worker that was held up until the turn had passed on must not come away with blocks.
    const stale = Atomics.load(words, roleAt + ROLE.turn) !== this.ownTurn;
    if (got === n && !stale) return "ok";
    // A successor that has the turn may have adopted some already: those are in `moved` and must stay charged.
    this.charge(got - giveUp(words, out, got, this.id) - n);
    return stale ? "stale_turn" : "no_room";
  }

  /**
   * Gives back blocks[0..n). Needs no turn.
   * @throws PoolError bad_count, block_out_of_range, double_free (a block is free already), foreign_block (another owner
   *   has it), repeated_block (twice in the list), detached, closed; nothing is changed then. Only when somebody adopts a block
   *   of the list at the same instant, foreign_block comes after the other blocks were freed.
   */
  free(blocks: Uint32Array, n: number = blocks.length): void {
    this.mustBeAttached();
    if (!(n >= 0 && n <= blocks.length) || !Number.isInteger(n)) throw badCount(n, blocks.length);
    this.list.read(blocks, n, this.id);
    const freed = this.release();
    this.charge(-freed);
    if (freed < n) throw new PoolError("foreign_block", `${n - freed} of ${n} blocks were adopted meanwhile`);
  }

  /**
   * Takes over blocks[0..n) from the owner in slot `from`, as decode does when a request's prefill is done. Their
   * accounting changes role with them.
   * @param from a slot, whoever is in it; or an owner (its `slot` and `joins`), so that blocks which it gave back, and which
   *   the next one in its slot has taken since, are not mistaken for its own.
   * @throws PoolError bad_count, block_out_of_range, foreign_block and double_free (not held by `from`), repeated_block,
   *   no_such_owner, detached, closed: nothing is changed then. FileLockError.
   */
  async adopt(
    from: number | OwnerRef,
    blocks: Uint32Array,
    n: number = blocks.length,
  ): Promise<"ok" | "over_quota" | "stale_turn"> {
    if (!(n >= 0 && n <= blocks.length) || !Number.isInteger(n)) throw badCount(n, blocks.length);
    return this.pool.locked(() => {
      const giver = this.giver(from);
      const refusal = this.beginAdoption(giver.role, () => {
        this.list.read(blocks, n, giver.slot + 1);
        return n;
      });
      if (refusal !== undefined) return refusal;
      const adoption = { words: this.words, from: giver.slot, to: this.slot };
      let moved = 0;
      for (let run = 0; run < this.list.runs; run += 1)
        moved += countFields(adoptFields(adoption, this.list.mapWord[run]!, this.list.fields[run]!));
      this.charge(moved - n);
      if (moved < n) throw new PoolError("foreign_block", `${n - moved} of ${n} blocks were freed meanwhile`);
      return "ok";
    });
  }

  /**
   * Takes over everything that the owner in slot `from` holds: of the worker before it, or of a dead one, whose slot is
   * free afterwards. Refused while the other lives and its turn is on: it may be allocating.
   * @param from as for `adopt`.
   * @returns the blocks, in order; or why not.
   * @throws PoolError no_such_owner, owner_active, detached, closed. FileLockError.
   */
  async adoptAll(from: number | OwnerRef): Promise<Uint32Array | "over_quota" | "stale_turn"> {
    return this.pool.locked(() => {
      const { words } = this;
      const { slot, role } = this.giver(from);
      let asked = 0;
      const refusal = this.beginAdoption(role, () => {
        this.pool.mustBeIdle(slot);
        asked = slotUse(words, slot);
        return asked;
      });
      if (refusal !== undefined) return refusal;
      const adoption = { words, from: slot, to: this.slot };
      const blocks = new Uint32Array(this.pool.shape.blocks);
      let got = 0;
      for (let word = 0; word < this.pool.mapWords && got < asked; word += 1) {
        // No more than was charged: one that is armed anew just now may take more, and that stays its own.
        const theirs = lowestFields(fieldsOf(words[MAP_WORD + word]!, slot + 1), asked - got);
        got = writeBlocks(blocks, got, word, adoptFields(adoption, word, theirs));
      }
      this.charge(got - asked);
      this.pool.dropIfGone(slot);
      return blocks.slice(0, got);
    });
  }

  /**
   * Frees all that it holds and leaves the pool; may be repeated. @returns how many blocks it still held.
   * @throws PoolError closed: nothing is freed then.
   */
  detach(): number {
    if (!this.attached) return 0;
    this.pool.mustBeOpen();
    this.attached = false;
    const freed = freeAllOf(this.words, this.id);
    Atomics.and(this.words, this.roleAt + ROLE.owners, ~(1 << this.slot));
    return freed;
  }

  private giver(from: number | OwnerRef): { slot: number; role: Role } {
    this.mustBeAttached();
    const giver = this.pool.mustHaveOwner(from);
    if (giver.slot === this.slot)
      throw new PoolError("no_such_owner", `slot ${giver.slot} is this owner itself`);
    return giver;
  }

  /** Checks, then charges this owner with what it is about to adopt. */
  private beginAdoption(giver: Role, count: () => number): "over_quota" | "stale_turn" | undefined {
    if (Atomics.load(this.words, this.roleAt + ROLE.turn) !== this.ownTurn) return "stale_turn";
    const n = count();
    this.charge(n);
    if (giver !== this.role && this.roleUse() > Atomics.load(this.words, this.roleAt + ROLE.quota)) {
      this.charge(-n);
      return "over_quota";
    }
    return undefined;
  }

  private charge(n: number): void {
    this.charged = (this.charged + n) | 0;
    Atomics.store(this.words, this.at + SLOT.charged, this.charged);
  }

  private roleUse(): number {
    const { words } = this;
    // `moved` before `owners`: nobody can join, adopt from here and be left out of the sum.
    const moved = Atomics.load(words, this.at + SLOT.moved);
    const alone = Atomics.load(words, this.roleAt + ROLE.owners) === 1 << this.slot;
    return alone ? (this.charged - moved) | 0 : roleUse(words, this.roleAt, this.scratch);
  }

  private hasRoom(): boolean {
    const { words, pool, scratch } = this;
    const prefill = roleUse(words, roleWord("prefill"), scratch);
    return prefill + roleUse(words, roleWord("decode"), scratch) <= pool.shape.blocks;
  }

  /** Takes free blocks from the hint on until it has n. @returns how many it got; fewer only when there is no room. */
  private claim(n: number, out: Uint32Array): number {
    const { words, id } = this;
    const { mapWords } = this.pool;
    const lastVisit = MAX_LAPS * mapWords;
    let nextCount = Math.min(WORDS_PER_COUNT, mapWords);
    let word = this.hint;
    const full = Math.imul(0x1111_1111, id);
    let got = 0;
    for (let visited = 1; ; visited += 1) {
      // Whole words first and here: 64 blocks in 170 to 190 ns, and in 215 by way of the masks (two busy cores).
      const at = MAP_WORD + word;
      const whole = n - got >= 8 && words[at] === 0 && Atomics.compareExchange(words, at, 0, full) === 0;
      got = whole ? writeWord(out, got, word << 3) : claimWord(words, word, id, n - got, out, got);
      const next = word + 1 === mapWords ? 0 : word + 1;
      if (got === n) {
        // Not back to a word that is full.
        this.hint = whole ? next : word;
        return got;
      }
      word = next;
      if (visited === nextCount) {
        if (visited >= lastVisit || !this.hasRoom()) return got;
        nextCount += Math.min(WORDS_PER_COUNT, mapWords);
      }
    }
  }

  /** Frees those blocks of the list that it still holds. @returns how many. */
  private release(): number {
    const { words, id } = this;
    const { runs, mapWord, fields } = this.list;
    let freed = 0;
    for (let run = 0; run < runs; run += 1)
      freed += countFields(replaceFields(words, MAP_WORD + mapWord[run]!, fields[run]!, id, 0));
    // What was just freed is found at once, and in this core's cache.
    if (runs > 0) this.hint = mapWord[0]!;
    return freed;
  }

  private mustBeAttached(): void {
    if (!this.attached) throw new PoolError("detached", `this owner has left slot ${this.slot}`);
    this.pool.mustBeOpen();
  }
}

export function checkTurn(turn: number): void {
  if (!Number.isInteger(turn) || turn < 0 || turn > MAX_COUNTER)
    throw new PoolError("bad_turn", `turn must be a whole number 0..${MAX_COUNTER}, got ${turn}`);
}

function badCount(n: number, length: number): PoolError {
  return new PoolError(
    "bad_count",
    `n must be a whole number within the array's length, ${length}, got ${n}`,
  );
}
