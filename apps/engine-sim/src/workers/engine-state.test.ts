import { KvPool } from "@fulcrum/kv-pool/pool.js";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { loadProfile } from "../input-files.js";
import { EngineState } from "./engine-state.js";
import { GapMeter } from "./gap-meter.js";
import type { Batch } from "./resident-protocol.js";
import { TokenLog } from "./token-log.js";

const profile = loadProfile("llama3-8b-a100");

/** A pool on paper: who owns which block, by slot. Prefill's slots are even. */
class PaperPool {
  readonly shape = { blocks: 400, tokensPerBlock: 16, bytesPerBlock: 0 };
  readonly held = new Map<number, number>();
  readonly slots = new Set<number>();
  quotaBlocks = 400;

  readonly usage = (): ReturnType<KvPool["usage"]> => {
    const role = { usedBlocks: 0, quotaBlocks: this.quotaBlocks, quotaRevision: 0, turn: 1 };
    return { blocks: 400, prefill: role, decode: role };
  };

  readonly owners = (): ReturnType<KvPool["owners"]> =>
    [...this.slots].map((slot) => ({
      slot,
      joins: 1,
      role: slot % 2 === 0 ? ("prefill" as const) : ("decode" as const),
      turn: 1,
      process: { pid: 1, start: 0, pidNamespace: 0 },
      state: "alive" as const,
      blocks: [...this.held.values()].filter((holder) => holder === slot).length,
    }));

  take(slot: number, n: number): number[] | null {
    const free = Array.from({ length: 400 }, (_, block) => block).filter((block) => !this.held.has(block));
    if (free.length < n) return null;
    for (const block of free.slice(0, n)) this.held.set(block, slot);
    return free.slice(0, n);
  }

  move(from: number, to: number, isHalf = false): number[] {
    const all = [...this.held].filter(([, slot]) => slot === from).map(([block]) => block);
    const blocks = isHalf ? all.slice(0, all.length / 2) : all;
    for (const block of blocks) this.held.set(block, to);
    return blocks;
  }

  free(slot: number, blocks: readonly number[]): void {
    for (const block of blocks) {
      expect(this.held.get(block), `block ${block}`).toBe(slot);
      this.held.delete(block);
    }
  }
}

class Rank {
  readonly pool = new PaperPool();
  readonly tokens = new TokenLog(null);
  nowMs = 0;
  readonly state = new EngineState({
    profile,
    pool: this.pool,
    tokens: this.tokens,
    meter: new GapMeter(),
    nowMs: () => this.nowMs,
    coreWaitMs: () => null,
  });
  private next = 0;
  private turn = 0;
  private slot = { prefill: -2, decode: -1 };

  arrive(promptTokens: number, outputTokens: number): void {
    this.state.arrive({ id: this.next, arrivalMs: this.nowMs, promptTokens, outputTokens });
    this.next += 1;
  }

  /**
   * A new worker of the role. It takes its first batch before it takes over what the one before it held; `killedAt`: before
   * that, in the middle of it, or after it and before it has said so.
   */
  begin(role: "prefill" | "decode", killedAt: "begun" | "half" | "inherited" | null = null): void {
    const slot = (this.slot[role] += 2);
    this.pool.slots.add(slot);
    this.turn += 1;
    const inherit = this.state.begin(role, slot, { turn: this.turn, sawMsAgo: 0 });
    const isChecked = inherit.every(({ blocks }) => blocks !== null);
    let first = isChecked ? this.state.offer(role, 50, 50, null) : null;
    if (killedAt === "begun") return;
    for (const { slot: from, blocks: expected } of inherit) {
      const blocks = this.pool.move(from, slot, killedAt === "half");
      if (killedAt !== null) return;
      if (blocks.length === expected) this.state.inheritAll(role, from, slot);
      else {
        if (this.state.giveUp(role, slot)) first = null;
        this.pool.free(slot, this.state.inherit(role, from, slot, blocks));
      }
      this.pool.slots.delete(from);
    }
    if (first !== null) this.run(role, first, null);
  }

  /** One iteration of the role, or as much of it as is done before its worker is killed. */
  iterate(
    role: "prefill" | "decode",
    killedAt: "taken" | "adopted" | "allocated" | "posted" | null,
    meanwhile: () => void = () => undefined,
  ): void {
    this.nowMs += 10;
    const batch = this.state.offer(role, 50, 50, null);
    if (batch !== null && killedAt !== "taken") this.run(role, batch, killedAt, meanwhile);
  }

  private run(
    role: "prefill" | "decode",
    batch: Batch,
    killedAt: "adopted" | "allocated" | "posted" | null,
    meanwhile: () => void = () => undefined,
  ): void {
    const slot = this.slot[role];
    const joined = this.join(batch, slot);
    meanwhile();
    if (killedAt === "adopted") return;
    const results = role === "prefill" ? this.prefill(batch, slot) : this.decode(batch, slot);
    if (killedAt === "allocated") return;
    const posted = { op: "post", turn: 1, batch: batch.batch, share: 0.5, results, joined } as const;
    const free = this.state.post(role, slot, { ...posted, results: [...results] });
    expect(free).not.toBeNull();
    if (killedAt !== "posted") this.pool.free(slot, free ?? []);
  }

  private join({ decode }: Batch, slot: number): number[] {
    const joins = decode.flatMap(({ id, join }) => (join === null ? [] : [{ id, ...join }]));
    for (const { blocks, slot: from } of joins) {
      for (const block of blocks) {
        expect(this.pool.held.get(block)).toBe(from);
        this.pool.held.set(block, slot);
      }
    }
    return joins.map(({ id }) => id);
  }

  private prefill({ prefill }: Batch, slot: number) {
    const results = [];
    for (const { id, token, blocks } of prefill) {
      const taken = this.pool.take(slot, blocks);
      if (taken === null) break;
      results.push({ id, token, blocks: taken });
    }
    return results;
  }

  private decode({ decode, batch }: Batch, slot: number) {
    const active = [...decode];
    const results = [];
    for (let part = active[0]; part !== undefined; part = active[results.length]) {
      const taken = this.pool.take(slot, Math.max(0, Math.ceil(part.context / 16) - part.blocks));
      if (taken !== null) results.push({ id: part.id, token: part.token, blocks: taken });
      else {
        const youngest = active.pop();
        this.pool.free(slot, this.state.preempt(batch, youngest?.id ?? -1) ?? []);
      }
    }
    return results;
  }
}

describe("the resident's batch state", () => {
  const role = fc.constantFrom("prefill" as const, "decode" as const);
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.record({ kind: fc.constant("run" as const), role }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("prefill_changes" as const) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant("kill" as const),
        role,
        at: fc.constantFrom("taken" as const, "adopted" as const, "allocated" as const, "posted" as const),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("hand_over" as const), role }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("kill_at_hand_over" as const),
        role,
        at: fc.constantFrom("begun" as const, "half" as const, "inherited" as const),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant("arrive" as const),
        promptTokens: fc.integer({ min: 1, max: 5_000 }),
        outputTokens: fc.integer({ min: 1, max: 40 }),
      }),
    },
  );

  it("loses no request, no token and no block, wherever workers are killed, replaced or short of blocks", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 120 }), (steps) => {
        const rank = new Rank();
        rank.begin("prefill");
        rank.begin("decode");
        for (const one of steps) {
          if (one.kind === "arrive") rank.arrive(one.promptTokens, one.outputTokens);
          else if (one.kind === "run") rank.iterate(one.role, null);
          else if (one.kind === "prefill_changes") rank.iterate("decode", null, () => rank.begin("prefill"));
          else {
            if (one.kind === "kill") rank.iterate(one.role, one.at);
            if (one.kind === "kill_at_hand_over") rank.begin(one.role, one.at);
            rank.begin(one.role);
          }
        }
        for (let round = 0; round < 20_000 && rank.state.inside > 0; round += 1) {
          rank.iterate("prefill", null);
          rank.iterate("decode", null);
        }
        const { arrived, finished, refused } = rank.state.counts;
        expect(finished + refused).toBe(arrived);
        expect([rank.tokens.repeated, rank.tokens.lost]).toEqual([0, 0]);
        expect(rank.pool.held.size).toBe(0);
      }),
      { numRuns: 200 },
    );
  });

  it("keeps what decode is taking over while prefill's worker changes", () => {
    const rank = new Rank();
    rank.begin("prefill");
    rank.begin("decode");
    rank.arrive(100, 3);
    rank.arrive(4_500, 3);
    // The first is prefilled; of the second a chunk is, so that prefill's worker still holds blocks.
    rank.iterate("prefill", null);
    rank.iterate("decode", null, () => rank.begin("prefill"));
    rank.iterate("decode", null);
    expect(rank.state.counts).toMatchObject({ finished: 1, preempted: 0 });
    expect([rank.tokens.repeated, rank.tokens.lost]).toEqual([0, 0]);
  });

  it("refuses a prompt that prefill's quota can never hold, so that those behind it go on", () => {
    const rank = new Rank();
    rank.pool.quotaBlocks = 10;
    rank.begin("prefill");
    rank.arrive(161, 1);
    rank.arrive(160, 1);
    rank.iterate("prefill", null);
    expect(rank.state.counts).toMatchObject({ arrived: 2, refused: 1, finished: 1 });
  });

  it("takes no result of a batch that a later worker has made void", () => {
    const rank = new Rank();
    rank.begin("prefill");
    rank.arrive(100, 5);
    const batch = rank.state.offer("prefill", 50, 50, null)?.batch ?? 0;
    rank.state.begin("prefill", 2, { turn: 2, sawMsAgo: 0 });
    const result = { id: 0, token: 0, blocks: [1] };
    const posted = { op: "post" as const, turn: 1, batch, share: 1, results: [result], joined: [] };
    expect(rank.state.post("prefill", 0, posted)).toBeNull();
    expect(rank.state.counts.finished + rank.state.progress("prefill").tokens).toBe(0);
  });
});

describe("the token log", () => {
  it("lets each token out once, and counts repeats and gaps", () => {
    const log = new TokenLog(null);
    expect([0, 1, 1, 0, 3].map((token) => log.take(7, token, 0))).toEqual([true, true, false, false, true]);
    expect([log.repeated, log.lost]).toEqual([2, 1]);
    log.close(7, 6);
    expect(log.lost).toBe(3);
  });
});
