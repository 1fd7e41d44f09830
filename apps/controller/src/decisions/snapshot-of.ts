import type { Capabilities } from "@fulcrum/contracts/agent-api.js";
import type { Snapshot } from "@fulcrum/core/decision.js";
import { seenToMs } from "@fulcrum/core/policy/policy-state.js";
import { latestSignal, summarise } from "@fulcrum/core/signal/summarise.js";
import { standingHold } from "../holds/standing.js";
import { narrowLimits } from "../pools/pool-settings.js";
import type { DecisionContext } from "./load-contexts.js";

/** The first wait after a rollback; doubled for each one in a row, at most 16-fold, as Attune does. */
const COOL_DOWN_MS = 30_000;
const MAX_DOUBLINGS = 4;

function coolDownUntil({ rollbacks }: DecisionContext): number | null {
  if (rollbacks === null) return null;
  return rollbacks.lastAtMs + COOL_DOWN_MS * 2 ** Math.min(rollbacks.inARow - 1, MAX_DOUBLINGS);
}

/** A driver that must restart the engine and does not say how long that takes: a model of some 10 GB is loaded in a minute. */
const UNTOLD_DOWNTIME_MS = 60_000;

function downtimeOf({ live, prepareMs }: Capabilities): Pick<Snapshot, "downtimeMs"> {
  return live ? {} : { downtimeMs: prepareMs ?? UNTOLD_DOWNTIME_MS };
}

/** Folds the context into what decide() is given, and what the decision's row keeps. */
export function snapshotOf(context: DecisionContext, nowMs: number): Snapshot {
  return {
    instance: context.instance,
    slo: context.slo,
    sloVersion: context.sloVersion,
    current: context.current,
    rolloutGeneration: context.rolloutGeneration,
    lastChangeAtMs: context.changedAtMs,
    coolDownUntilMs: coolDownUntil(context),
    recentMoves: context.moves,
    limits: narrowLimits(context.capabilities.limits, context.poolLimits),
    ...downtimeOf(context.capabilities),
    hold: standingHold(context.holds, context.frozen, nowMs),
    ...(context.degraded ? { degraded: true } : {}),
    signal: summarise(
      context.windows,
      {
        sinceMs: context.changedAtMs,
        currentGeneration: context.current.generation,
        lookbackMs: context.lookbackMs,
        guards: context.guards,
      },
      nowMs,
    ),
    latest: latestSignal(context.windows, seenToMs(context.state) ?? 0, context, nowMs),
    state: context.state,
  };
}
