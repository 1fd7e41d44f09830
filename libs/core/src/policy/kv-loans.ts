/** Loans of KV memory that can be called back: how lendKv is to see a borrower so that nobody is starved by a loan. */
import { expectedNeedTokens } from "./kv-lending.js";
import type { KvBorrower } from "./kv-lending.js";

/** Deviations above its mean need that a borrower may call back of its equal share. */
const CALL_DEVIATIONS = 1;

/**
 * The borrower as lendKv is to see it, `equalTokens` being the device's memory over its instances. Its floor is its
 * equal share as far as it needs that. What it uses beyond its equal share does not count as its own but as growth
 * that it would like: it gives that back as its blocks come free.
 *
 * Without this a load that outgrows the device keeps all it ever got, and the others, whom equal shares would have
 * served, starve beside it. No floor is raised above the equal share, so that raised floors always fit the device.
 */
export function withCallableLoans(borrower: KvBorrower, equalTokens: number): KvBorrower {
  const { usedTokens, floorTokens, demand } = borrower;
  const ownTokens = Math.min(usedTokens, equalTokens);
  const needTokens =
    expectedNeedTokens({ usedTokens, demand }) + CALL_DEVIATIONS * Math.sqrt(demand.varianceTokensSq);
  return {
    ...borrower,
    usedTokens: ownTokens,
    floorTokens: Math.max(floorTokens, Math.min(equalTokens, needTokens)),
    demand: { ...demand, growthTokens: demand.growthTokens + usedTokens - ownTokens },
  };
}
