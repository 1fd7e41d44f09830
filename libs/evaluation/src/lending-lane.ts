import type { SloTarget } from "@fulcrum/core/nouns.js";
import {
  lendKv,
  type KvBorrower,
  type KvDemand,
  type LendingParams,
} from "@fulcrum/core/policy/kv-lending.js";
import { withCallableLoans } from "@fulcrum/core/policy/kv-loans.js";
import { createInstance, type Instance } from "@fulcrum/simulator/instance.js";
import type { SimEvent, SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { SharedKvMemory } from "@fulcrum/simulator/shared-kv-memory.js";
import { OPEN_SPLIT } from "./best-fixed.js";
import { KvDemandMeter } from "./kv-demand.js";
import { Outcomes, type RequestOutcome } from "./outcome.js";
import { WindowMeter, meterBounds } from "./window-meter.js";

/** One instance on the device, its model and its own load. */
export interface LendingMember {
  readonly name: string;
  /** What the instance has of the GPU's compute; its kvTotalTokens is not used. */
  readonly profile: Profile;
  readonly kvBytesPerToken: number;
  /** Never lent below this: at least the longest request that may come, for one that cannot fit is refused. */
  readonly floorTokens: number;
  /** In order of arrival. */
  readonly requests: readonly SimRequest[];
  readonly slo: SloTarget;
}

/** Equal fixed shares of the device's bytes, or shares that lendKv moves from there. */
export type Sharing =
  | { readonly kind: "equal" }
  | { readonly kind: "lending"; readonly params: LendingParams };

export interface LendingLaneOptions {
  readonly deviceBytes: number;
  readonly members: readonly LendingMember[];
  readonly sharing: Sharing;
  readonly controlIntervalMs: number;
  /** Requests that have not finished so long after the last arrival never do. */
  readonly drainMs: number;
}

/** Shares in force at an instant, in the order of the members. */
export interface LentAt {
  readonly atMs: number;
  readonly tokens: readonly number[];
  readonly bytes: number;
}

export interface MemberResult {
  readonly name: string;
  /** One for each request, in order of arrival. */
  readonly outcomes: readonly RequestOutcome[];
  readonly preemptions: number;
  readonly refused: number;
}

export interface LendingLaneResult {
  readonly members: readonly MemberResult[];
  /** Whenever blocks could change hands: every TICK_MS, and after each decision. */
  readonly lent: readonly LentAt[];
  /** Decisions that moved shares. */
  readonly moves: number;
}

/** Blocks that come free are passed on at least this often. */
const TICK_MS = 500;

/**
 * Serves each member's requests on an instance of its own; all keep their KV in one device's memory. Every control
 * interval the demands are measured, lendKv decides and the pools are resized: what shrinks gives its blocks up
 * before anybody gets them. The instances do not slow each other's compute: their profiles say what each one has of
 * it. Deterministic. Throws RangeError when the equal shares leave a member less than its floor.
 */
export function runLendingLane(options: LendingLaneOptions): LendingLaneResult {
  return new LendingLane(options).run();
}

class LendingLane {
  readonly #seats: readonly Seat[];
  readonly #memory: SharedKvMemory;
  readonly #lent: LentAt[] = [];
  #moves = 0;

  constructor(private readonly options: LendingLaneOptions) {
    const shareBytes = options.deviceBytes / options.members.length;
    this.#seats = options.members.map((member) => new Seat(member, shareBytes));
    const borrowers = this.#seats.map(({ instance, member }) => ({
      instance,
      kvBytesPerToken: member.kvBytesPerToken,
    }));
    this.#memory = new SharedKvMemory(options.deviceBytes, borrowers);
  }

  run(): LendingLaneResult {
    const { controlIntervalMs, drainMs, sharing, members } = this.options;
    const lastMs = Math.max(...members.map(({ requests }) => requests.at(-1)?.arrivalMs ?? 0));
    const endMs = lastMs + drainMs;
    for (let controlMs = controlIntervalMs, nowMs = 0; nowMs < endMs && !this.#idle();) {
      nowMs = Math.min(nowMs + TICK_MS, controlMs);
      for (const seat of this.#seats) seat.advance(nowMs);
      this.#note(nowMs, this.#memory.collect());
      if (nowMs < controlMs) continue;
      controlMs += controlIntervalMs;
      if (sharing.kind === "lending") this.#lend(nowMs, sharing.params);
    }
    return { members: this.#seats.map((seat) => seat.result()), lent: this.#lent, moves: this.#moves };
  }

  #idle(): boolean {
    return this.#seats.every(({ instance }) => instance.idle);
  }

  #lend(nowMs: number, params: LendingParams): void {
    const demands = this.#seats.map((seat) => seat.demand());
    const asked = decideShares(this.#seats, demands, this.options.deviceBytes, params);
    if (asked === null) return;
    this.#moves += 1;
    this.#note(nowMs, this.#memory.resize(asked));
  }

  #note(atMs: number, tokens: readonly number[]): void {
    const bytes = this.options.deviceBytes - this.#memory.freeBytes;
    this.#lent.push({ atMs, tokens, bytes });
  }
}

/**
 * Tokens of each pool, or null to leave them. Models differ in what a token takes, so lendKv is asked in tokens of
 * the smallest: n of a model with r times its bytes are r x n of them, and cost 1/r each to compute again.
 */
function decideShares(
  seats: readonly Seat[],
  demands: readonly KvDemand[],
  deviceBytes: number,
  params: LendingParams,
): readonly number[] | null {
  const unitBytes = Math.min(...seats.map(({ member }) => member.kvBytesPerToken));
  const ratios = seats.map(({ member }) => member.kvBytesPerToken / unitBytes);
  const blockTokens = Math.max(
    ...seats.map(({ member }, i) => Math.ceil(member.profile.kvBlockTokens * (ratios[i] ?? 1))),
  );
  const totalTokens = Math.floor(deviceBytes / unitBytes);
  const equalTokens = Math.floor(totalTokens / seats.length / blockTokens) * blockTokens;
  const borrowers = seats.map((seat, i): KvBorrower => {
    const demand = demands[i];
    if (demand === undefined) throw new Error("a member has no demand");
    return withCallableLoans(borrowerOf(seat, demand, ratios[i] ?? 1), equalTokens);
  });
  const plan = lendKv({ totalTokens, blockTokens, borrowers }, params);
  if (plan.steps.length === 0) return null;
  return plan.shares.map(({ shareTokens }, i) => Math.floor(shareTokens / (ratios[i] ?? 1)));
}

function borrowerOf({ member, instance }: Seat, demand: KvDemand, ratio: number): KvBorrower {
  const state = instance.state();
  return {
    instance: member.name,
    shareTokens: state.kvTotalTokens * ratio,
    usedTokens: state.kvUsedTokens * ratio,
    floorTokens: member.floorTokens * ratio,
    demand: inUnits(demand, ratio),
  };
}

function inUnits(demand: KvDemand, ratio: number): KvDemand {
  return {
    ...demand,
    growthTokens: demand.growthTokens * ratio,
    promptTokens: demand.promptTokens * ratio,
    outputTokens: demand.outputTokens * ratio,
    varianceTokensSq: demand.varianceTokensSq * ratio ** 2,
    recomputeMsPerToken: demand.recomputeMsPerToken / ratio,
  };
}

/** An instance with what is seen of it. */
class Seat {
  readonly instance: Instance;
  readonly #meter: WindowMeter;
  readonly #demand = new KvDemandMeter();
  readonly #outcomes = new Outcomes();
  #refused = 0;
  #events: SimEvent[] = [];

  constructor(
    readonly member: LendingMember,
    shareBytes: number,
  ) {
    const { profile, kvBytesPerToken, floorTokens, slo, requests, name } = member;
    const block = profile.kvBlockTokens;
    const kvTotalTokens = Math.floor(shareBytes / kvBytesPerToken / block) * block;
    if (kvTotalTokens < floorTokens) {
      throw new RangeError(`${name} has ${kvTotalTokens} tokens of an equal share and needs ${floorTokens}`);
    }
    this.instance = createInstance({
      profile: { ...profile, kvTotalTokens },
      initial: { split: OPEN_SPLIT, kvQuotaPct: 100, generation: 1 },
    });
    this.#meter = new WindowMeter(this.instance, meterBounds([slo.ttft.boundMs, slo.tpot.boundMs]), {
      maxSequences: profile.maxBatch,
      maxBatchTokens: profile.maxBatchedTokens,
    });
    for (const request of requests) this.instance.submit(request);
  }

  advance(tMs: number): void {
    const events = this.instance.advanceTo(tMs);
    this.#outcomes.add(events);
    for (const event of events) {
      if (event.type === "refused") this.#refused += 1;
      this.#events.push(event);
    }
  }

  /** Closes the window that ends now. */
  demand(): KvDemand {
    const window = this.#meter.close(this.#events);
    this.#events = [];
    return this.#demand.measure(window, this.instance.state());
  }

  result(): MemberResult {
    const { name, requests, slo } = this.member;
    return {
      name,
      outcomes: requests.map((request) => this.#outcomes.of(request, slo)),
      preemptions: this.#outcomes.preemptions,
      refused: this.#refused,
    };
  }
}
