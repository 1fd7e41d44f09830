/**
 * The changes of an instance within its pool's flap window, as decisions count them and people are told: what the policy
 * moved by itself and was switched. What people moved (overrides, rollbacks, approved proposals, static targets) is not its
 * going to and fro, nor is what was superseded or rolled back, which has a growing wait of its own.
 */
import type { Move } from "@fulcrum/core/decision.js";
import { MAX_RECENT_MOVES } from "@fulcrum/core/decision.js";
import type { Allocation } from "@fulcrum/core/nouns.js";

/** Generations looked at, whoever made them: with all of 5,000 that were kept it took 2.0 ms in place of 0.3. */
const MAX_LOOKED_AT = 4 * MAX_RECENT_MOVES;

export interface StoredMove {
  readonly atMs: number;
  readonly generation: number;
  readonly from: Allocation;
  readonly to: Allocation;
}

/** Of `instances i` in `pools p` as a JSON list, oldest first; null when there are none. `now` is an SQL expression. */
export function recentMovesSql(now: string): string {
  return `(
  SELECT json_agg(json_build_object('atMs', floor(extract(epoch FROM m.created_at) * 1000),
                                    'generation', m.generation,
                                    'from', m.from_allocation, 'to', m.to_allocation) ORDER BY m.generation)
  FROM (SELECT r.created_at, r.generation, r.from_allocation, r.to_allocation
        FROM reconfigurations r JOIN decisions d ON d.id = r.decision_id
        WHERE r.instance_id = i.id AND r.generation > i.generation - ${MAX_LOOKED_AT}
          AND r.kind = 'decision' AND r.state = 'verified'
          AND d.mode <> 'recommend' AND d.policy_name <> 'static'
          AND r.created_at > ${now} - make_interval(secs => (p.guards ->> 'flapWindowMs')::float8 / 1000)
        ORDER BY r.generation DESC LIMIT ${MAX_RECENT_MOVES}) m)`;
}

export function toMoves(stored: readonly StoredMove[] | null): Move[] {
  return (stored ?? []).map(({ atMs, generation, from, to }) => ({
    atMs,
    generation,
    prefillDeltaPct: to.split.prefillSmPct - from.split.prefillSmPct,
    decodeDeltaPct: to.split.decodeSmPct - from.split.decodeSmPct,
  }));
}
