import type { Instance } from "./instance.js";

/** An instance and what one token of its model's KV takes: instances of different models may share a device. */
export interface KvBorrower {
  readonly instance: Pick<Instance, "setKvTotalTokens" | "state">;
  readonly kvBytesPerToken: number;
}

/**
 * One device's KV memory, lent to the pools of several instances. A pool that shrinks gives back first what
 * is free and then each block that comes free; only what was given back is lent again, so the pools together
 * never exceed the device.
 */
export class SharedKvMemory {
  #askedTokens: readonly number[];

  /** The pools keep the sizes they have. Throws RangeError when these exceed the device. */
  constructor(
    private readonly deviceBytes: number,
    private readonly borrowers: readonly KvBorrower[],
  ) {
    this.#askedTokens = this.lentTokens();
    if (!(this.freeBytes >= 0)) {
      throw new RangeError(
        `pools of ${deviceBytes - this.freeBytes} bytes exceed the device's ${deviceBytes}`,
      );
    }
  }

  /** Tokens in force of each pool. */
  lentTokens(): number[] {
    return this.borrowers.map(({ instance }) => instance.state().kvTotalTokens);
  }

  get freeBytes(): number {
    const lent = this.borrowers.map(
      ({ instance, kvBytesPerToken }) => instance.state().kvTotalTokens * kvBytesPerToken,
    );
    return this.deviceBytes - lent.reduce((sum, bytes) => sum + bytes, 0);
  }

  /**
   * Asks for a size of every pool, in tokens and the order of the borrowers. Returns the sizes in force; a
   * pool that must wait for another's blocks gets them in `collect`. Throws RangeError on another number of
   * sizes, and when they exceed the device.
   */
  resize(tokens: readonly number[]): number[] {
    if (tokens.length !== this.borrowers.length) {
      throw new RangeError(`needs ${this.borrowers.length} sizes, got ${tokens.length}`);
    }
    const bytes = this.borrowers.reduce(
      (sum, { kvBytesPerToken }, i) => sum + kvBytesPerToken * (tokens[i] ?? 0),
      0,
    );
    if (!(bytes <= this.deviceBytes)) {
      throw new RangeError(`pools of ${bytes} bytes exceed the device's ${this.deviceBytes}`);
    }
    this.#askedTokens = [...tokens];
    for (const [i, { instance }] of this.borrowers.entries()) {
      const asked = tokens[i] ?? 0;
      if (asked < instance.state().kvTotalTokens) instance.setKvTotalTokens(asked);
    }
    return this.collect();
  }

  /**
   * Lends what was given back to the pools that still wait, the first borrower first. To be called whenever
   * instances have advanced: blocks come free only there. Returns the sizes in force.
   */
  collect(): number[] {
    for (const [i, { instance, kvBytesPerToken }] of this.borrowers.entries()) {
      const lent = instance.state().kvTotalTokens;
      const affordable = lent + Math.floor(this.freeBytes / kvBytesPerToken);
      const next = Math.min(this.#askedTokens[i] ?? lent, affordable);
      if (next > lent) instance.setKvTotalTokens(next);
    }
    return this.lentTokens();
  }
}
