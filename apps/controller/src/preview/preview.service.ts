import {
  MAX_PREVIEWED,
  type Preview,
  type PreviewDecision,
  type PreviewInput,
} from "@fulcrum/contracts/preview.js";
import { decide } from "@fulcrum/core/decide.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";
import { type DecisionContext, loadContexts } from "../decisions/load-contexts.js";
import { snapshotOf } from "../decisions/snapshot-of.js";
import { checkLimits, fullPolicy } from "../pools/pool-settings.js";
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
    const items: Preview["items"] = [];
    for (let at = 0; at < rows.length; at += CHUNK) {
      const ids = rows.slice(at, at + CHUNK).map(({ id }) => id);
      const nowMs = Date.now();
      const contexts = await loadContexts(this.source, ids, ids, nowMs);
      for (const context of contexts) {
        const { split, kvQuotaPct } = context.current;
        items.push({
          instance: context.instance,
          current: { split, kvQuotaPct },
          now: decideOn(context, nowMs),
          // oxlint-disable-next-line unicorn/no-thenable -- no function: nobody can await it
          then: decideOn(changed(context, change), nowMs),
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
}

/** As the pool's row would be after the change. */
function changed(
  context: DecisionContext,
  { policy, mode, guards, limits, slo }: PreviewInput,
): DecisionContext {
  return {
    ...context,
    mode: mode ?? context.mode,
    policy: policy ? fullPolicy(policy) : context.policy,
    guards: { ...context.guards, ...guards },
    poolLimits: limits ?? context.poolLimits,
    slo: slo ?? context.slo,
    sloVersion: slo ? context.sloVersion + 1 : context.sloVersion,
  };
}

function decideOn(context: DecisionContext, nowMs: number): PreviewDecision {
  const { kind, reason, message, allocation, predicted, observed } = decide(
    snapshotOf(context, nowMs),
    context.policy,
    context.guards,
    nowMs,
  );
  const { ttftMs, tpotMs, ttftOkShare, tpotOkShare } = observed;
  return {
    kind,
    reason,
    message,
    mode: context.mode,
    applies: kind === "move" && context.mode === "enforce",
    allocation,
    predicted,
    observed: { ttftMs, tpotMs, ttftOkShare, tpotOkShare },
  };
}
