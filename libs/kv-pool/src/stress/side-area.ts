import { writeFileSync } from "node:fs";
import { mapSegment } from "../segment.js";

/** Words of the side area, a second shared file by which the stress run checks the pool without asking the pool. */
const STOP = 0;
const DOUBLE = 1;
const QUOTA_PASSED = 2;
const GRANTED_AT = 3;
const MAIL = 8;
const MAX_MAIL = 500;
const DEAD = 512;
export const MAX_TOKENS = 8_192;
const STAMPS = DEAD + MAX_TOKENS;

/**
 * Who holds which block, by the holders' own account: each writes its token on a block when the pool gave it, and takes
 * it off before it gives the block back. A block that has a living token on it already was given out twice.
 */
export class SideArea {
  private constructor(
    private readonly words: Int32Array,
    private readonly endMapping: () => void,
  ) {}

  static create(path: string, blocks: number): SideArea {
    writeFileSync(path, new Uint8Array((STAMPS + blocks) * 4));
    return SideArea.open(path);
  }

  static open(path: string): SideArea {
    const segment = mapSegment(path);
    return new SideArea(new Int32Array(segment.buffer), () => segment.unmap());
  }

  close(): void {
    this.endMapping();
  }

  stamp(blocks: Uint32Array, n: number, token: number): void {
    for (let i = 0; i < n; i += 1) {
      const before = Atomics.exchange(this.words, STAMPS + blocks[i]!, token);
      if (before !== 0 && !this.isDead(before)) Atomics.add(this.words, DOUBLE, 1);
    }
  }

  unstamp(blocks: Uint32Array, n: number, token: number): void {
    for (let i = 0; i < n; i += 1)
      if (Atomics.exchange(this.words, STAMPS + blocks[i]!, 0) !== token) Atomics.add(this.words, DOUBLE, 1);
  }

  /** Called after blocks were given and before they are given back: the sum never exceeds what is really held. */
  granted(role: "prefill" | "decode", n: number, quota: number): void {
    const at = GRANTED_AT + (role === "prefill" ? 0 : 1);
    if (Atomics.add(this.words, at, n) + n > quota && n > 0) Atomics.add(this.words, QUOTA_PASSED, 1);
  }

  get doubleAllocations(): number {
    return Atomics.load(this.words, DOUBLE);
  }

  get quotaPassed(): number {
    return Atomics.load(this.words, QUOTA_PASSED);
  }

  /** To be called right before the kill: from then on its stamps mean nothing. */
  markDead(token: number): void {
    Atomics.store(this.words, DEAD + token, 1);
  }

  isDead(token: number): boolean {
    return Atomics.load(this.words, DEAD + token) === 1;
  }

  get stopped(): boolean {
    return Atomics.load(this.words, STOP) === 1;
  }

  stop(): void {
    Atomics.store(this.words, STOP, 1);
  }

  /** Puts blocks out for another process to adopt; at most 500. */
  offer(blocks: Uint32Array): void {
    if (blocks.length > MAX_MAIL) throw new Error(`at most ${MAX_MAIL} blocks, got ${blocks.length}`);
    for (let i = 0; i < blocks.length; i += 1) this.words[MAIL + 1 + i] = blocks[i]!;
    Atomics.store(this.words, MAIL, blocks.length);
  }

  /** The blocks on offer; undefined when there are none. */
  get offered(): Uint32Array | undefined {
    const n = Atomics.load(this.words, MAIL);
    return n === 0 ? undefined : Uint32Array.from(this.words.subarray(MAIL + 1, MAIL + 1 + n));
  }

  clearOffer(): void {
    Atomics.store(this.words, MAIL, 0);
  }
}
