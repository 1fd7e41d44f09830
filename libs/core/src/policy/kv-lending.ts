/**
 * KV lending: several instances keep their KV blocks in the memory of one GPU, and lend each other blocks as their
 * loads change.
 *
 * An instance will need X tokens, taken as normal: its mean is the greater of what its running requests grow to and
 * of what its arrivals keep in the pool by Little's law, `rate x life x (prompt + answer/2)`; its variance is given.
 * At share S it is expected to lose E[max(0, X - S)] tokens to preemptions, each of which costs prefill time again.
 * The shares that cost least in sum are those where one more token saves the same everywhere:
 * `cost_i x P(X_i > S_i) = mu`, with mu such that the shares fill the GPU. An instance never has less than it uses,
 * nor less than its floor. What is left when nobody is short any more is spread evenly.
 *
 * Hysteresis: these shares do not depend on the present ones, and are taken up only when the expected cost falls by
 * `minSavingMs` and by `minSavingShare`, or when the present shares break a bound. Equal loads at equal shares, noise,
 * and loads that all fit save nothing, and so move nothing.
 */
import { tidy } from "../allocation.js";
import { HUGE, describeFault, firstFault, isRecord, rangeFault, shapeFault } from "../signal/fault.js";
import type { Fault } from "../signal/fault.js";
import { expectedExcess, upperQuantile } from "../model/normal.js";

/** What one instance is going to ask of the memory. */
export interface KvDemand {
  /** Tokens that its running requests will add before they finish, from the learnt output lengths. */
  readonly growthTokens: number;
  readonly arrivalPerS: number;
  /** How long a request holds blocks, s. */
  readonly lifeS: number;
  /** Mean prompt and answer. */
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** Variance of the need, tokens^2. */
  readonly varianceTokensSq: number;
  /** Prefill time to compute one lost token again, ms. */
  readonly recomputeMsPerToken: number;
}

export interface KvBorrower {
  readonly instance: string;
  readonly shareTokens: number;
  readonly usedTokens: number;
  /** Never lent below this. */
  readonly floorTokens: number;
  readonly demand: KvDemand;
}

export interface KvDevice {
  readonly totalTokens: number;
  /** Shares are whole blocks (or pages) of this many tokens. */
  readonly blockTokens: number;
  readonly borrowers: readonly KvBorrower[];
}

export interface LendingParams {
  /** Smallest fall of the expected recomputation that is worth a move, ms and as a share of it. */
  readonly minSavingMs: number;
  readonly minSavingShare: number;
}

/** 200 ms are two prefills of 1,000 tokens at 0.1 ms a token; 0.2 is the standard error of a mean over 25 requests. */
export const DEFAULT_LENDING: LendingParams = { minSavingMs: 200, minSavingShare: 0.2 };

/** One instance's share is set; the steps are to be done in order, each when the one before is confirmed. */
export interface LendingStep {
  readonly instance: string;
  readonly fromTokens: number;
  readonly toTokens: number;
}

export interface LendingPlan {
  /** In the order of the borrowers; the present shares when nothing moves. */
  readonly shares: readonly { readonly instance: string; readonly shareTokens: number }[];
  /** All that shrink, then all that grow: the sum never passes the device on the way. */
  readonly steps: readonly LendingStep[];
  readonly why: string;
}

/** Most instances on one GPU; MIG allows 7, MPS 48 clients. */
export const MAX_BORROWERS = 48;

/** Total: what cannot be believed holds the shares. */
export function lendKv(device: KvDevice, params: LendingParams = DEFAULT_LENDING): LendingPlan {
  const fault = deviceFault(device) ?? paramsFault(params);
  if (fault !== null) return hold(device, `${describeFault(fault)}: the shares are held`);
  const { blockTokens, borrowers } = device;
  const totalBlocks = Math.floor(device.totalTokens / blockTokens);
  const needs = borrowers.map((borrower) => needOf(borrower, blockTokens));
  const leastBlocks = needs.reduce((sum, need) => sum + need.leastBlocks, 0);
  if (leastBlocks > totalBlocks) {
    const asked = `what is used and the floors ask for ${leastBlocks * blockTokens} tokens`;
    return hold(device, `${asked} of ${device.totalTokens}: the shares are held`);
  }

  const target = bestBlocks(needs, totalBlocks).map((blocks) => blocks * blockTokens);
  const present = borrowers.map(({ shareTokens }) => shareTokens);
  const costNow = expectedCostMs(needs, present, blockTokens);
  const costThen = expectedCostMs(needs, target, blockTokens);
  const said = `expected recomputation ${tidy(costNow)} ms, at the best shares ${tidy(costThen)} ms`;
  const savingMs = costNow - costThen;
  const enoughMs = Math.max(params.minSavingMs, params.minSavingShare * costNow);
  const worth = savingMs > 0 && savingMs >= enoughMs;
  const broken = brokenBound(device);
  if (!worth && broken === null) return hold(device, `Not worth a move: ${said}`);
  return planOf(borrowers, target, broken === null ? `Lending is worth it: ${said}` : `${broken}: ${said}`);
}

/** The need of one instance, in blocks. */
interface Need {
  readonly leastBlocks: number;
  readonly mean: number;
  readonly deviation: number;
  readonly costMsPerToken: number;
}

/** Mean need in tokens: what its running requests grow to, or what its arrivals keep, whichever is more. */
export function expectedNeedTokens(borrower: Pick<KvBorrower, "usedTokens" | "demand">): number {
  const { growthTokens, arrivalPerS, lifeS, promptTokens, outputTokens } = borrower.demand;
  const steady = arrivalPerS * lifeS * (promptTokens + outputTokens / 2);
  return Math.max(borrower.usedTokens + growthTokens, steady);
}

function needOf(borrower: KvBorrower, blockTokens: number): Need {
  const { demand, usedTokens, floorTokens } = borrower;
  return {
    leastBlocks: Math.ceil(Math.max(usedTokens, floorTokens) / blockTokens),
    mean: expectedNeedTokens(borrower) / blockTokens,
    deviation: Math.sqrt(demand.varianceTokensSq) / blockTokens,
    costMsPerToken: demand.recomputeMsPerToken,
  };
}

/** Room for a need that is exceeded once in 1e12: more is not asked for, whatever it costs. */
const LEAST_TAIL = 1e-12;
/** What costs less than this part of the dearest costs nothing. */
const LEAST_COST = 1e-200;

/** Blocks of one instance at multiplier `mu`; `costMsPerToken` and `mu` as shares of the highest cost. */
function blocksAt(need: Need, mu: number): number {
  const { leastBlocks, mean, deviation, costMsPerToken } = need;
  if (mu >= costMsPerToken) return leastBlocks;
  const tail = Math.max(LEAST_TAIL, mu / costMsPerToken);
  return Math.max(leastBlocks, mean + deviation * upperQuantile(tail));
}

/** The shares of least expected cost, whole blocks. Depends on needs and device only. */
function bestBlocks(needs: readonly Need[], totalBlocks: number): number[] {
  const relative = relativeCosts(needs);
  const at = (mu: number) => relative.map((need) => blocksAt(need, mu));
  const sum = (blocks: readonly number[]) => blocks.reduce((total, n) => total + n, 0);
  // On a log scale. At `high` everybody has the least, which fits; at `low` everybody has all the room that is asked for.
  let high = 1;
  let low = LEAST_TAIL * Math.min(1, ...relative.map((need) => need.costMsPerToken || 1));
  const roomy = at(low);
  if (sum(roomy) <= totalBlocks) return spread(roomy, totalBlocks - sum(roomy));
  for (let i = 0; i < 60; i++) {
    const middle = Math.sqrt(low * high);
    if (sum(at(middle)) > totalBlocks) low = middle;
    else high = middle;
  }
  // Needs without spread jump at one multiplier: between both sides of it the rest is shared in proportion.
  const less = at(high);
  const more = at(low);
  const gap = sum(more) - sum(less);
  const part = gap > 0 ? (totalBlocks - sum(less)) / gap : 0;
  return less.map((blocks, i) => wholeBlocks(blocks + part * ((more[i] ?? blocks) - blocks)));
}

/** Only ratios of costs matter, and products of them must not vanish. */
function relativeCosts(needs: readonly Need[]): readonly Need[] {
  const dearest = Math.max(...needs.map((need) => need.costMsPerToken)) || 1;
  return needs.map((need) => {
    const share = need.costMsPerToken / dearest;
    return { ...need, costMsPerToken: share < LEAST_COST ? 0 : share };
  });
}

function spread(blocks: readonly number[], left: number): number[] {
  return blocks.map((n) => wholeBlocks(n + left / blocks.length));
}

/** Rounded down, but for a millionth that arithmetic lost. */
function wholeBlocks(blocks: number): number {
  return Math.floor(blocks + 1e-6);
}

function expectedCostMs(needs: readonly Need[], shares: readonly number[], blockTokens: number): number {
  return needs.reduce((total, need, i) => {
    const blocks = (shares[i] ?? 0) / blockTokens;
    const lost = expectedExcess(need.mean, need.deviation, blocks) * blockTokens;
    return total + lost * need.costMsPerToken;
  }, 0);
}

/** Why the present shares cannot stay, whatever a move saves; null when they can. */
function brokenBound({ borrowers, totalTokens }: KvDevice): string | null {
  const sum = borrowers.reduce((total, { shareTokens }) => total + shareTokens, 0);
  if (sum > totalTokens) return `The shares sum to ${tidy(sum)} of ${totalTokens} tokens`;
  const short = borrowers.find((b) => b.shareTokens < Math.max(b.usedTokens, b.floorTokens));
  return short === undefined ? null : `${short.instance} has less than it uses or its floor`;
}

function planOf(borrowers: readonly KvBorrower[], target: readonly number[], why: string): LendingPlan {
  const steps = borrowers
    .map(({ instance, shareTokens }, i) => {
      return { instance, fromTokens: shareTokens, toTokens: target[i] ?? shareTokens };
    })
    .filter(({ fromTokens, toTokens }) => fromTokens !== toTokens);
  return {
    shares: borrowers.map(({ instance }, i) => ({ instance, shareTokens: target[i] ?? 0 })),
    steps: [
      ...steps.filter(({ fromTokens, toTokens }) => toTokens < fromTokens),
      ...steps.filter(({ fromTokens, toTokens }) => toTokens > fromTokens),
    ],
    why,
  };
}

function hold(device: KvDevice, why: string): LendingPlan {
  const given: unknown = isRecord(device) ? device.borrowers : null;
  const borrowers = (Array.isArray(given) ? given.filter(isRecord) : []) as unknown as readonly KvBorrower[];
  return {
    shares: borrowers.map(({ instance, shareTokens }) => ({ instance, shareTokens })),
    steps: [],
    why,
  };
}

function deviceFault(device: unknown): Fault | null {
  if (!isRecord(device)) return shapeFault("device", "an object");
  const { borrowers } = device;
  if (!Array.isArray(borrowers) || borrowers.length < 1 || borrowers.length > MAX_BORROWERS) {
    return shapeFault("borrowers", `a list of 1 to ${MAX_BORROWERS} instances`);
  }
  const names = new Set(
    borrowers.map((borrower: unknown) => (isRecord(borrower) ? borrower.instance : null)),
  );
  if (names.size < borrowers.length) return shapeFault("borrowers", "a list that names each instance once");
  const faults = borrowers.map((borrower: unknown, i) => borrowerFault(`borrowers[${i}]`, borrower));
  return firstFault(
    rangeFault("totalTokens", device.totalTokens, 1, HUGE),
    rangeFault("blockTokens", device.blockTokens, 1, HUGE),
    ...faults,
  );
}

function borrowerFault(field: string, value: unknown): Fault | null {
  if (!isRecord(value) || typeof value.instance !== "string" || !isRecord(value.demand)) {
    return shapeFault(field, "an instance with its demand");
  }
  const { demand } = value;
  const tokens = (name: string, found: unknown) => rangeFault(`${field}.${name}`, found, 0, HUGE);
  return firstFault(
    tokens("shareTokens", value.shareTokens),
    tokens("usedTokens", value.usedTokens),
    tokens("floorTokens", value.floorTokens),
    tokens("demand.growthTokens", demand.growthTokens),
    tokens("demand.promptTokens", demand.promptTokens),
    tokens("demand.outputTokens", demand.outputTokens),
    tokens("demand.arrivalPerS", demand.arrivalPerS),
    tokens("demand.lifeS", demand.lifeS),
    rangeFault(`${field}.demand.varianceTokensSq`, demand.varianceTokensSq, 0, HUGE * HUGE),
    rangeFault(`${field}.demand.recomputeMsPerToken`, demand.recomputeMsPerToken, 0, HUGE),
  );
}

function paramsFault(params: unknown): Fault | null {
  if (!isRecord(params)) return shapeFault("params", "an object");
  return firstFault(
    rangeFault("minSavingMs", params.minSavingMs, 0, HUGE),
    rangeFault("minSavingShare", params.minSavingShare, 0, 1),
  );
}
