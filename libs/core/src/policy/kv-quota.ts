/**
 * The KV quota rule: keep room for the decodes that already run.
 *
 * A running decode will add, on average, half of a mean answer before it finishes, so the pool is about to
 * need `growth = running * mean answer / 2` tokens. Under pressure, which is used + growth beyond 90 % of the
 * pool or a preemption (which costs a whole prefill again, and about 3x TPOT in the paper's Fig 12 runs),
 * prefill may hold only what is left beside that growth. Without pressure it may hold everything.
 *
 * Hysteresis: pressure starts at 90 % and relief at 75 %; the quota moves in steps of 5 points, tightens only
 * by 10 points or more unless a preemption was seen, and relaxes by 20 points at a time.
 */
import type { Snapshot } from "../decision.js";

export const PRESSURE_SHARE = 0.9;
export const RELIEF_SHARE = 0.75;
export const QUOTA_STEP_PCT = 5;
const LEAST_TIGHTENING_PCT = 10;
const RELIEF_STEP_PCT = 20;

export interface QuotaOutcome {
  readonly quotaPct: number;
  /** Null: leave the quota as it is. */
  readonly reason: "KV_PRESSURE" | "KV_RELIEF" | null;
  readonly why: string;
}

export function kvQuota(
  snapshot: Pick<Snapshot, "current" | "limits" | "signal">,
  answerTokens: number | null,
): QuotaOutcome {
  const { kv, queue } = snapshot.signal;
  const quotaPct = snapshot.current.kvQuotaPct;
  const unchanged: QuotaOutcome = { quotaPct, reason: null, why: "" };
  if (kv.totalTokens === null || kv.usedTokens === null || kv.totalTokens <= 0) return unchanged;
  if (queue.decodeRunning === null || answerTokens === null) return unchanged;

  const growth = (queue.decodeRunning * answerTokens) / 2;
  const neededShare = (kv.usedTokens + growth) / kv.totalTokens;
  const preempted = (kv.preemptions ?? 0) > 0;
  const said = `KV use and expected growth are ${Math.round(neededShare * 100)} % of the pool`;
  const { minKvQuotaPct, maxKvQuotaPct } = snapshot.limits;

  if (preempted || neededShare > PRESSURE_SHARE) {
    const leftPct = 100 * (PRESSURE_SHARE - growth / kv.totalTokens);
    // The engine ran out at the present quota, whatever the sum says: one step less than now, at least.
    const target = preempted ? Math.min(leftPct, quotaPct - QUOTA_STEP_PCT) : leftPct;
    const next = within(Math.floor(target / QUOTA_STEP_PCT) * QUOTA_STEP_PCT, minKvQuotaPct, maxKvQuotaPct);
    const enough = quotaPct - next >= (preempted ? QUOTA_STEP_PCT : LEAST_TIGHTENING_PCT);
    const seen = preempted ? `${said}, with ${kv.preemptions} preemptions` : said;
    return enough ? { quotaPct: next, reason: "KV_PRESSURE", why: seen } : unchanged;
  }
  if (neededShare < RELIEF_SHARE && quotaPct < maxKvQuotaPct) {
    const next = within(quotaPct + RELIEF_STEP_PCT, minKvQuotaPct, maxKvQuotaPct);
    return { quotaPct: next, reason: "KV_RELIEF", why: said };
  }
  return unchanged;
}

function within(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, value));
}
