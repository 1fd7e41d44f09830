import { SUM_SLACK_PCT, tidy } from "@fulcrum/core/allocation.js";
import { withinBounds } from "@fulcrum/core/guard/bounds.js";
import type { Allocation, Limits } from "@fulcrum/core/nouns.js";
import { narrowLimits } from "../pools/pool-settings.js";
import { ProblemError } from "../http/problem-error.js";

/**
 * What a person asks for, brought to the nearest step of the driver. Beyond a limit it is refused, not cut: a person who
 * says 80 does not mean 60. `field` is where the allocation stands in the request.
 * @throws ProblemError naming the field, the bound and whose bound it is
 */
export function deliverable(
  asked: Allocation,
  field: string,
  limits: { readonly driver: Limits; readonly pool: Partial<Limits> },
): Allocation {
  const narrow = narrowLimits(limits.driver, limits.pool);
  const { split, kvQuotaPct } = asked;
  const whose = (key: keyof Limits) => (narrow[key] === limits.driver[key] ? "driver" : "pool");
  const between = (name: string, value: number, low: keyof Limits, high: keyof Limits) => {
    if (value < narrow[low])
      throw refused(`${field}.${name}`, `must be at least ${tidy(narrow[low])}, the ${whose(low)}'s ${low}`);
    if (value > narrow[high])
      throw refused(
        `${field}.${name}`,
        `must be at most ${tidy(narrow[high])}, the ${whose(high)}'s ${high}`,
      );
  };
  between("split.prefillSmPct", split.prefillSmPct, "minSmPct", "maxSmPct");
  between("split.decodeSmPct", split.decodeSmPct, "minSmPct", "maxSmPct");
  between("kvQuotaPct", kvQuotaPct, "minKvQuotaPct", "maxKvQuotaPct");
  const sum = split.prefillSmPct + split.decodeSmPct;
  if (sum > narrow.maxSumPct + SUM_SLACK_PCT) {
    const most = `must add up to at most ${tidy(narrow.maxSumPct)}, the ${whose("maxSumPct")}'s maxSumPct`;
    throw refused(`${field}.split`, `${most}; got ${tidy(sum)}`);
  }
  // From nowhere: every split is brought to the grid, also the one in force.
  const nowhere = { split: { prefillSmPct: 0, decodeSmPct: 0 }, kvQuotaPct: 0 };
  const guards = { maxStepPct: 100, stabilityMargin: 1 };
  return withinBounds(asked, { current: nowhere, limits: narrow, guards, model: null }).allocation;
}

function refused(field: string, message: string): ProblemError {
  return new ProblemError("invalid_request", `${field}: ${message}`, [{ field, message }]);
}
