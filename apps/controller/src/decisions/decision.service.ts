import { decide } from "@fulcrum/core/decide.js";
import type { Decision, Snapshot } from "@fulcrum/core/decision.js";
import { Inject, Injectable } from "@nestjs/common";
import type { Logger } from "pino";
import { DataSource, type EntityManager } from "typeorm";
import { AssignmentService } from "../assignments/assignment.service.js";
import { appendAudit, CONTROLLER } from "../audit/append-audit.js";
import { CONFIG, type Config } from "../config.js";
import { uuidV7 } from "../db/uuid-v7.js";
import { LOGGER } from "../obs/logger.js";
import { Metrics } from "../obs/metrics.js";
import { openReconfiguration } from "../reconfigurations/open-reconfiguration.js";
import { ReconfigurationRow } from "../reconfigurations/reconfiguration.rows.js";
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

interface Decided {
  readonly context: DecisionContext;
  readonly row: DecisionRow;
  /** What decide() itself took. */
  readonly seconds: number;
}

interface Commit {
  readonly context: DecisionContext;
  readonly row: DecisionRow;
  /** Null: another controller was first. */
  readonly opened: ReconfigurationRow | null;
  readonly agents: readonly string[];
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
    const decided = contexts.map((context) => this.decide(context, nowMs));
    const applied = await this.apply(
      decided.filter(({ context, row }) => row.kind === "move" && context.mode === "enforce"),
    );
    const evaluated = decided.map((one) => ({ ...one, row: applied.get(one.row.id) ?? one.row }));
    for (const { row, seconds } of evaluated)
      this.metrics.decided(row.kind, row.reason, row.outcome, seconds);
    await this.remember(evaluated, nowMs);
    return evaluated.some(({ row }) => row.outcome === "applied");
  }

  private decide(context: DecisionContext, nowMs: number): Decided {
    const snapshot = snapshotOf(context, nowMs);
    const startedAt = performance.now();
    const decision = decide(snapshot, context.policy, context.guards, nowMs);
    const seconds = (performance.now() - startedAt) / 1_000;
    return { context, row: newRow(context, snapshot, decision, nowMs), seconds };
  }

  /**
   * Commits the moves of one report together, one fsync for all: each with its decision, allocation, rollout
   * and audit row, and each on condition that its generation is still current. Answers with the rows as they
   * came out, by id; losing the race is an outcome, not an error.
   */
  private async apply(moves: readonly Decided[]): Promise<ReadonlyMap<string, DecisionRow>> {
    if (moves.length === 0) return new Map();
    // Always in one order, so that two replicas that commit at once cannot wait for each other.
    const ordered = [...moves].sort((a, b) => (a.context.instanceId < b.context.instanceId ? -1 : 1));
    const commits = await this.source.transaction(async (manager) => {
      const outcomes: Commit[] = [];
      for (const move of ordered) outcomes.push(await this.commit(manager, move));
      await insertDecisions(
        manager,
        outcomes.filter(({ opened }) => opened).map(({ row }) => row),
      );
      for (const { opened, context, row } of outcomes) if (opened) await auditMove(manager, context, row);
      return outcomes;
    });
    for (const commit of commits) this.logCommit(commit);
    this.queue.watch(
      commits.flatMap(({ opened }) =>
        opened ? [{ id: opened.id, deadlineMs: opened.deadlineAt.getTime() }] : [],
      ),
    );
    const agents = new Set(commits.flatMap((commit) => commit.agents));
    if (agents.size > 0) await this.assignments.announce([...agents]);
    return new Map(commits.map(({ row }) => [row.id, row]));
  }

  private async commit(manager: EntityManager, { context, row }: Decided): Promise<Commit> {
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
    if (!opened) return { context, row: { ...row, outcome: "lost_race" }, opened, agents: [] };
    const agents = await agentsOf(manager, context.instanceId);
    return { context, row: { ...row, outcome: "applied", generation: opened.generation }, opened, agents };
  }

  private logCommit({ context, row }: Commit): void {
    const { outcome, generation, reason, message } = row;
    const event = outcome === "applied" ? "decision_applied" : "decision_lost_race";
    this.logger.info({ event, pool: context.pool, instance: context.instance, generation, reason, message });
  }

  /** Keeps what each policy learnt, and stores the decisions that say something new or were last stored long ago. */
  private async remember(evaluated: readonly Decided[], nowMs: number): Promise<void> {
    if (evaluated.length === 0) return;
    const news = evaluated.filter(({ context, row }) => {
      const repeats =
        context.lastKey === keyOf(row) && (context.lastStoredAtMs ?? 0) > nowMs - REPEAT_STORED_EVERY_MS;
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
        evaluated.map(({ row }) => keyOf(row)),
      ],
    );
  }
}

/** What makes two decisions say the same. */
function keyOf(row: DecisionRow): string {
  return JSON.stringify([row.kind, row.reason, row.outcome, row.mode, row.basedOnGeneration, row.allocation]);
}

async function auditMove(manager: EntityManager, context: DecisionContext, row: DecisionRow): Promise<void> {
  await appendAudit(manager, CONTROLLER, {
    action: "decision.applied",
    subject: `instance/${context.instance}`,
    before: context.current,
    after: { decision: row.id, reason: row.reason, generation: row.generation, allocation: row.allocation },
  });
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
