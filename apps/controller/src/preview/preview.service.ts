import { fullPolicy } from "@fulcrum/contracts/pool-defaults.js";
import {
  MAX_PREVIEWED,
  type Preview,
  type PreviewDecision,
  type PreviewInput,
  type PreviewOutcome,
} from "@fulcrum/contracts/preview.js";
import { decide } from "@fulcrum/core/decide.js";
import type { Decision, ReasonCode, Snapshot } from "@fulcrum/core/decision.js";
import { cutAt } from "@fulcrum/core/outcome/canary-parts.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";
import { type DecisionContext, isEnforced, loadContexts } from "../decisions/load-contexts.js";
import { snapshotOf } from "../decisions/snapshot-of.js";
import { hashesOf } from "../pools/canary-cut.js";
import type { PoolRow } from "../pools/pool.rows.js";
import { checkLimits } from "../pools/pool-settings.js";
import { findPool } from "../pools/pool.service.js";

/** Instances whose windows are read at a time; with a lookback of ten minutes each brings up to 512 windows. */
const CHUNK = 20;

const WHAT_IT_IS =
  "What the policy would decide at this moment, on the windows that were measured under the present split. " +
  "Nothing was stored or changed; what comes after the first decision is not foretold.";

/** Decides on the pool's instances as they are and as they would be under a change of settings. */
@Injectable()
export class PreviewService {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  async preview(name: string, change: PreviewInput): Promise<Preview> {
    if (change.limits) checkLimits(change.limits);
    const pool = await findPool(this.source.manager, name);
    const rows = await this.source.query<{ id: string; count: number }[]>(
      `SELECT id, (count(*) OVER ())::int AS count FROM instances
       WHERE pool_id = $1 AND deleted_at IS NULL ORDER BY name LIMIT ${MAX_PREVIEWED}`,
      [pool.id],
    );
    const cut = await this.newCut(pool, change);
    const items: Preview["items"] = [];
    for (let at = 0; at < rows.length; at += CHUNK) {
      const ids = rows.slice(at, at + CHUNK).map(({ id }) => id);
      const nowMs = Date.now();
      const contexts = await loadContexts(this.source, ids, ids, nowMs, change.lookbackMs);
      for (const context of contexts) {
        const { split, kvQuotaPct } = context.current;
        items.push({
          instance: context.instance,
          current: { split, kvQuotaPct },
          now: decideOn(context, nowMs),
          // oxlint-disable-next-line unicorn/no-thenable -- no function: nobody can await it
          then: decideOn(changed(context, change, cut), nowMs),
        });
      }
    }
    const left = (rows[0]?.count ?? 0) - rows.length;
    const note =
      left > 0
        ? `${WHAT_IT_IS} ${left} instances beyond the first ${MAX_PREVIEWED} by name were left out.`
        : WHAT_IT_IS;
    return { items: items.sort((a, b) => (a.instance < b.instance ? -1 : 1)), note };
  }

  /** Where the change would cut the pool for a canary; null: it would not. */
  private async newCut(pool: PoolRow, { mode, canary }: PreviewInput): Promise<Cut | null> {
    const share = canary?.share ?? pool.canary.share;
    if ((mode ?? pool.mode) !== "canary" || (pool.mode === "canary" && share === pool.canary.share))
      return null;
    const hashes = await hashesOf(this.source.manager, pool.id);
    return { below: cutAt(hashes, share), least: hashes.at(0) ?? 0, most: hashes.at(-1) ?? 0 };
  }
}

type Cut = Omit<DecisionContext["canary"], "hash">;

/** As the pool's row would be after the change. */
function changed(
  context: DecisionContext,
  { policy, mode, guards, limits, slo, lookbackMs, frozen }: PreviewInput,
  cut: Cut | null,
): DecisionContext {
  return {
    ...context,
    mode: mode ?? context.mode,
    canary: { ...context.canary, ...cut },
    policy: policy ? fullPolicy(policy) : context.policy,
    guards: { ...context.guards, ...guards },
    poolLimits: limits ?? context.poolLimits,
    lookbackMs: lookbackMs ?? context.lookbackMs,
    frozen: frozen ?? context.frozen,
    slo: slo ?? context.slo,
    sloVersion: slo ? context.sloVersion + 1 : context.sloVersion,
  };
}

/** Lasts until a person ends it, or for minutes: settings are edited just then, and one wants to see beyond. */
const LOOKED_PAST: ReadonlySet<ReasonCode> = new Set(["PINNED", "FROZEN", "DEGRADED", "COOL_DOWN"]);

function decideOn(context: DecisionContext, nowMs: number): PreviewDecision {
  const { guards, policy } = context;
  const snapshot = snapshotOf(context, nowMs);
  const decision = decide(snapshot, policy, guards, nowMs);
  const unheld = LOOKED_PAST.has(decision.reason) ? decide(freed(snapshot), policy, guards, nowMs) : null;
  return { ...outcomeOf(context, decision), unheld: unheld && outcomeOf(context, unheld) };
}

function freed({ degraded: _degraded, ...snapshot }: Snapshot): Snapshot {
  return { ...snapshot, hold: { pinned: null, frozen: false }, coolDownUntilMs: null };
}

function outcomeOf(context: DecisionContext, decision: Decision): PreviewOutcome {
  const { kind, reason, message, allocation, predicted, observed } = decision;
  const { ttftMs, tpotMs, ttftOkShare, tpotOkShare } = observed;
  return {
    kind,
    reason,
    message,
    mode: context.mode,
    applies: kind === "move" && isEnforced(context),
    allocation,
    predicted,
    observed: { ttftMs, tpotMs, ttftOkShare, tpotOkShare },
  };
}
