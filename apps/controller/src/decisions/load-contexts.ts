import type { Capabilities } from "@fulcrum/contracts/agent-api.js";
import type { Approval } from "@fulcrum/contracts/proposals.js";
import type { GuardConfig, Move, PolicyConfig, PolicyState } from "@fulcrum/core/decision.js";
import type {
  Allocation,
  GeneratedAllocation,
  Limits,
  Mode,
  SloTarget,
  Window,
} from "@fulcrum/core/nouns.js";
import { type CanaryPlace, inCanary } from "@fulcrum/core/outcome/canary-parts.js";
import type { DataSource } from "typeorm";
import { recentMovesSql, type StoredMove, toMoves } from "../fleet/recent-moves.js";
import { ACTIVE_HOLDS, type ActiveHold } from "../holds/standing.js";
import { OPEN_PROPOSAL, type OpenProposal } from "../proposals/open-proposal.js";
import { MAX_WINDOWS } from "./recent-windows.js";

/** What a decision needs to know of one instance, as it stands in the database. */
export interface DecisionContext {
  readonly instanceId: string;
  readonly instance: string;
  readonly poolId: string;
  readonly pool: string;
  readonly poolVersion: number;
  readonly mode: Mode;
  readonly policy: PolicyConfig;
  readonly guards: GuardConfig;
  readonly poolLimits: Partial<Limits>;
  readonly capabilities: Capabilities;
  readonly lookbackMs: number;
  readonly frozen: boolean;
  readonly slo: SloTarget;
  readonly sloVersion: number;
  readonly current: GeneratedAllocation;
  readonly changedAtMs: number | null;
  /** What operators have put in its way: its own, its pool's and the fleet's. */
  readonly holds: readonly ActiveHold[];
  readonly openProposal: OpenProposal | null;
  readonly approval: Approval;
  readonly canary: CanaryPlace;
  readonly degraded: boolean;
  readonly rolloutGeneration: number | null;
  readonly moves: readonly Move[];
  /** Rollouts that were rolled back since the last one that was verified; null when there was none. */
  readonly rollbacks: { readonly inARow: number; readonly lastAtMs: number } | null;
  readonly state: PolicyState | null;
  readonly lastKey: string | null;
  readonly lastStoredAtMs: number | null;
  readonly lastSeq: number;
  /** Since the lookback, oldest first. */
  readonly windows: readonly Window[];
}

interface Row {
  instance_id: string;
  instance: string;
  pool_id: string;
  pool: string;
  pool_version: number;
  mode: Mode;
  policy: PolicyConfig;
  guards: GuardConfig;
  pool_limits: Partial<Limits>;
  capabilities: Capabilities;
  lookback_ms: number;
  frozen: boolean;
  slo: SloTarget;
  slo_version: number;
  generation: number;
  allocation: Allocation;
  changed_at: Date | null;
  holds: ActiveHold[] | null;
  open_proposal: OpenProposal | null;
  approval: Approval;
  canary: CanaryPlace;
  degraded: boolean;
  rollout_generation: number | null;
  moves: StoredMove[] | null;
  rollbacks: number;
  last_rollback_at: Date | null;
  policy_state: PolicyState | null;
  last_decision_key: string | null;
  last_decision_at: Date | null;
  last_seq: number;
  windows: Window[] | null;
}

/** Of `instances i` in `pools p`. Only in mode canary the others are looked at. */
const CANARY_PLACE = `
  CASE WHEN p.mode = 'canary' THEN json_build_object('hash', i.canary_hash, 'below', p.canary_below,
    'least', (SELECT min(n.canary_hash) FROM instances n WHERE n.pool_id = p.id AND n.deleted_at IS NULL),
    'most', (SELECT max(n.canary_hash) FROM instances n WHERE n.pool_id = p.id AND n.deleted_at IS NULL))
  ELSE json_build_object('hash', i.canary_hash, 'below', NULL, 'least', i.canary_hash, 'most', i.canary_hash) END`;

/** Whether the instance's pool has it moved without asking anybody. */
export function isEnforced({ mode, canary }: Pick<DecisionContext, "mode" | "canary">): boolean {
  return mode === "enforce" || (mode === "canary" && inCanary(canary));
}

/**
 * One statement, so one consistent picture, for all instances that are due. Windows are sought by the
 * time they were received in, which is what their partitions are cut by.
 */
const CONTEXTS = `
  SELECT i.id AS instance_id, i.name AS instance, p.id AS pool_id, p.name AS pool, p.version AS pool_version, p.mode, p.policy, p.guards,
         p.limits AS pool_limits, i.capabilities,  p.lookback_ms, p.frozen,
         v.slo, p.slo_version, i.generation, i.allocation, i.changed_at, p.approval,
         ${ACTIVE_HOLDS} AS holds, ${OPEN_PROPOSAL} AS open_proposal,
         ${CANARY_PLACE} AS canary, i.degraded_cause IS NOT NULL AS degraded, o.generation AS rollout_generation, s.policy_state, s.last_decision_key, s.last_decision_at,
         ${recentMovesSql("$2::timestamptz")} AS moves,
         s.last_seq::float8 AS last_seq, b.rollbacks, b.last_rollback_at,
         (SELECT json_agg(w.body ORDER BY w.seq)
          FROM (SELECT body, seq FROM windows w
                WHERE w.instance_id = i.id AND i.id = ANY($3::uuid[])
                  AND w.received_at > $2::timestamptz - make_interval(secs => greatest(p.lookback_ms, $4::int) / 1000.0)
                ORDER BY w.seq DESC LIMIT ${MAX_WINDOWS}) w) AS windows
  FROM instances i
  JOIN pools p ON p.id = i.pool_id
  JOIN slo_versions v ON v.pool_id = p.id AND v.version = p.slo_version
  JOIN instance_signals s ON s.instance_id = i.id
  CROSS JOIN LATERAL (
    SELECT count(*)::int AS rollbacks, max(r.ended_at) AS last_rollback_at FROM reconfigurations r
    WHERE r.instance_id = i.id AND r.state = 'rolled_back'
      AND r.generation > coalesce((SELECT max(g.generation) FROM reconfigurations g
                                   WHERE g.instance_id = i.id AND g.state = 'verified'
                                     AND g.kind IN ('decision', 'override', 'manual_rollback')), -1)) b
  LEFT JOIN reconfigurations o ON o.instance_id = i.id AND o.ended_at IS NULL
  WHERE i.id = ANY($1::uuid[]) AND i.deleted_at IS NULL
  ORDER BY i.id`;

/** Windows are read only of the instances in `withWindowsOf`: over the pool's lookback, or `lookbackMs` where that is longer. */
export async function loadContexts(
  source: DataSource,
  instanceIds: readonly string[],
  withWindowsOf: readonly string[],
  nowMs: number,
  lookbackMs = 0,
): Promise<DecisionContext[]> {
  const rows = await source.query<Row[]>(CONTEXTS, [instanceIds, new Date(nowMs), withWindowsOf, lookbackMs]);
  return rows.map(toContext);
}

function toContext(row: Row): DecisionContext {
  return {
    instanceId: row.instance_id,
    instance: row.instance,
    poolId: row.pool_id,
    pool: row.pool,
    poolVersion: row.pool_version,
    mode: row.mode,
    policy: row.policy,
    guards: row.guards,
    poolLimits: row.pool_limits,
    capabilities: row.capabilities,
    lookbackMs: row.lookback_ms,
    frozen: row.frozen,
    slo: row.slo,
    sloVersion: row.slo_version,
    current: { ...row.allocation, generation: row.generation },
    changedAtMs: row.changed_at?.getTime() ?? null,
    holds: row.holds ?? [],
    openProposal: row.open_proposal,
    approval: row.approval,
    canary: row.canary,
    degraded: row.degraded,
    rolloutGeneration: row.rollout_generation,
    moves: toMoves(row.moves),
    rollbacks: row.last_rollback_at
      ? { inARow: row.rollbacks, lastAtMs: row.last_rollback_at.getTime() }
      : null,
    state: row.policy_state,
    lastKey: row.last_decision_key,
    lastStoredAtMs: row.last_decision_at?.getTime() ?? null,
    lastSeq: row.last_seq,
    windows: row.windows ?? [],
  };
}
