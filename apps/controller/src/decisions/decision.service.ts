import { decide } from "@fulcrum/core/decide.js";
import type { Decision, Snapshot } from "@fulcrum/core/decision.js";
import { Inject, Injectable } from "@nestjs/common";
import type { Logger } from "pino";
import { DataSource } from "typeorm";
import { AssignmentService } from "../assignments/assignment.service.js";
import { appendAudit, CONTROLLER } from "../audit/append-audit.js";
import { CONFIG, type Config } from "../config.js";
import { uuidV7 } from "../db/uuid-v7.js";
import { LOGGER } from "../obs/logger.js";
import { Metrics } from "../obs/metrics.js";
import { openReconfiguration } from "../reconfigurations/open-reconfiguration.js";
import { ReconfigurationQueue } from "../reconfigurations/reconfiguration.queue.js";
import { agentsOf } from "../reconfigurations/reconfiguration.service.js";
import { type DecisionOutcome, DecisionRow, insertDecisions } from "./decision.row.js";
import { type DecisionContext, loadContexts } from "./load-contexts.js";
import { snapshotOf } from "./snapshot-of.js";

/**
 * A decision that says the same as the one before is counted, and stored again only after this long: an
 * instance that holds for a day leaves 1,440 rows, not 17,280.
 */
export const REPEAT_STORED_EVERY_MS = 60_000;

interface Evaluated {
  readonly context: DecisionContext;
  readonly row: DecisionRow;
  /** What makes two decisions say the same. */
  readonly key: string;
}

/** Runs decide() for instances that are due and commits what comes out. */
@Injectable()
export class DecisionService {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(AssignmentService) private readonly assignments: AssignmentService,
    @Inject(ReconfigurationQueue) private readonly queue: ReconfigurationQueue,
    @Inject(Metrics) private readonly metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Answers whether any allocation changed. */
  async evaluate(instanceIds: readonly string[], nowMs: number): Promise<boolean> {
    if (instanceIds.length === 0) return false;
    const contexts = await loadContexts(this.source, instanceIds, nowMs);
    let changed = false;
    const evaluated: Evaluated[] = [];
    for (const context of contexts) {
      const snapshot = snapshotOf(context, nowMs);
      const startedAt = performance.now();
      const decision = decide(snapshot, context.policy, context.guards, nowMs);
      const seconds = (performance.now() - startedAt) / 1_000;
      const outcome = await this.conclude(context, snapshot, decision, nowMs);
      changed ||= outcome.row.outcome === "applied";
      evaluated.push(outcome);
      this.metrics.decided(decision.kind, decision.reason, outcome.row.outcome, seconds);
    }
    await this.remember(evaluated, nowMs);
    return changed;
  }

  private async conclude(
    context: DecisionContext,
    snapshot: Snapshot,
    decision: Decision,
    nowMs: number,
  ): Promise<Evaluated> {
    const applies = decision.kind === "move" && context.mode === "enforce";
    const row = applies
      ? await this.apply(context, newRow(context, snapshot, decision, nowMs))
      : newRow(context, snapshot, decision, nowMs);
    const key = JSON.stringify([
      row.kind,
      row.reason,
      row.outcome,
      row.mode,
      row.basedOnGeneration,
      row.allocation,
    ]);
    return { context, row, key };
  }

  /** Decision, allocation, rollout and audit in one transaction, on condition that the generation is still current. */
  private async apply(context: DecisionContext, row: DecisionRow): Promise<DecisionRow> {
    const applied = await this.source.transaction(async (manager) => {
      const opened = await openReconfiguration(manager, {
        poolId: context.poolId,
        instanceId: context.instanceId,
        decisionId: row.id,
        kind: "decision",
        reason: row.reason,
        from: context.current,
        to: row.allocation,
        offerTimeoutMs: this.config.rollout.offerTimeoutMs,
      });
      if (!opened) return null;
      const stored: DecisionRow = { ...row, outcome: "applied", generation: opened.generation };
      await insertDecisions(manager, [stored]);
      const agents = await agentsOf(manager, context.instanceId);
      await appendAudit(manager, CONTROLLER, {
        action: "decision.applied",
        subject: `instance/${context.instance}`,
        before: context.current,
        after: {
          decision: row.id,
          reason: row.reason,
          generation: opened.generation,
          allocation: row.allocation,
        },
      });
      return { stored, opened, agents };
    });
    if (!applied) {
      this.logger.info({
        event: "decision_lost_race",
        instance: context.instance,
        generation: context.current.generation,
      });
      return { ...row, outcome: "lost_race" };
    }
    this.logger.info({
      event: "decision_applied",
      pool: context.pool,
      instance: context.instance,
      generation: applied.opened.generation,
      reason: row.reason,
      message: row.message,
    });
    this.queue.watch([{ id: applied.opened.id, deadlineMs: applied.opened.deadlineAt.getTime() }]);
    await this.assignments.announce(applied.agents);
    return applied.stored;
  }

  /** Keeps what each policy learnt, and stores the decisions that say something new or were last stored long ago. */
  private async remember(evaluated: readonly Evaluated[], nowMs: number): Promise<void> {
    if (evaluated.length === 0) return;
    const news = evaluated.filter(({ context, key, row }) => {
      const repeats =
        context.lastKey === key && (context.lastStoredAtMs ?? 0) > nowMs - REPEAT_STORED_EVERY_MS;
      return row.outcome === "applied" || !repeats;
    });
    const toInsert = news.filter(({ row }) => row.outcome !== "applied").map(({ row }) => row);
    if (toInsert.length > 0) await insertDecisions(this.source.manager, toInsert);
    const stored = new Set(news);
    await this.source.query(
      `UPDATE instance_signals s
       SET evaluated_at = $1, policy_state = t.state::json,
           last_decision_id = coalesce(t.decision_id, s.last_decision_id),
           last_decision_key = CASE WHEN t.decision_id IS NULL THEN s.last_decision_key ELSE t.key END,
           last_decision_at = CASE WHEN t.decision_id IS NULL THEN s.last_decision_at ELSE $1 END
       FROM unnest($2::uuid[], $3::text[], $4::uuid[], $5::text[]) AS t(instance_id, state, decision_id, key)
       WHERE s.instance_id = t.instance_id`,
      [
        new Date(nowMs),
        evaluated.map(({ context }) => context.instanceId),
        evaluated.map(({ row }) => (row.decision.state === null ? null : JSON.stringify(row.decision.state))),
        evaluated.map((one) => (stored.has(one) ? one.row.id : null)),
        evaluated.map(({ key }) => key),
      ],
    );
  }
}

function newRow(
  context: DecisionContext,
  snapshot: Snapshot,
  decision: Decision,
  nowMs: number,
): DecisionRow {
  return {
    id: uuidV7(),
    poolId: context.poolId,
    instanceId: context.instanceId,
    at: new Date(nowMs),
    kind: decision.kind,
    reason: decision.reason,
    message: decision.message,
    mode: context.mode,
    outcome: "recorded" satisfies DecisionOutcome,
    basedOnGeneration: context.current.generation,
    generation: null,
    allocation: decision.allocation,
    predicted: decision.predicted,
    policyName: decision.policy.name,
    policyVersion: decision.policy.version,
    decidedAtMs: nowMs,
    snapshot,
    policyConfig: context.policy,
    guardConfig: context.guards,
    decision,
  };
}
