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
import { Tracing } from "../obs/tracing.js";
import { openProposals, saysTheSame, type Wish } from "../proposals/open-proposal.js";
import { ReconfigurationQueue } from "../reconfigurations/reconfiguration.queue.js";
import { offerSpan } from "../reconfigurations/rollout-spans.js";
import { commitMoves } from "./commit-moves.js";
import { type DecisionOutcome, type DecisionRow, insertDecisions } from "./decision.row.js";
import { type DecisionContext, isEnforced, loadContexts } from "./load-contexts.js";
import { beginTraces, endCommit, failTraces } from "./move-traces.js";
import { RecentWindows } from "./recent-windows.js";
import { snapshotOf } from "./snapshot-of.js";

/**
 * A decision that says the same as the one before is counted, and stored again only after this long: an
 * instance that holds for a day leaves 1,440 rows, not 17,280.
 */
export const REPEAT_STORED_EVERY_MS = 60_000;

/** An instance that is due, with what its report's write has told of it. */
export interface DueInstance {
  readonly id: string;
  readonly lastSeq: number;
  readonly lookbackMs: number;
}

interface Decided {
  readonly context: DecisionContext;
  readonly row: DecisionRow;
  /** What decide() itself took. */
  readonly seconds: number;
  /** When it was done. */
  readonly decidedMs: number;
}

/** Runs decide() for instances that are due and commits what comes out. */
@Injectable()
export class DecisionService {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(AssignmentService) private readonly assignments: AssignmentService,
    @Inject(ReconfigurationQueue) private readonly queue: ReconfigurationQueue,
    @Inject(RecentWindows) private readonly recent: RecentWindows,
    @Inject(Metrics) private readonly metrics: Metrics,
    @Inject(Tracing) private readonly tracing: Tracing,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Answers whether any allocation changed. `reporter` is told in the answer to its report and needs no waking. */
  async evaluate(
    due: readonly DueInstance[],
    nowMs: number,
    reporter: string | null = null,
  ): Promise<boolean> {
    if (due.length === 0) return false;
    const contexts = await this.contextsOf(due, nowMs);
    const decided = contexts.map((context) => this.decide(context, nowMs));
    const applied = await this.apply(
      decided.filter(({ context, row }) => row.kind === "move" && isEnforced(context)),
      reporter,
    );
    const evaluated = decided.map((one) => ({ ...one, row: applied.get(one.row.id) ?? one.row }));
    const proposed = await this.propose(
      decided.filter(({ context, row }) => row.kind === "move" && context.mode === "recommend"),
      nowMs,
    );
    for (const { row, seconds } of evaluated)
      this.metrics.decided(row.kind, row.reason, row.outcome, seconds);
    await this.remember(evaluated, proposed, nowMs);
    return evaluated.some(({ row }) => row.outcome === "applied");
  }

  /** Windows come from memory where this replica holds them all, else from the database. */
  private async contextsOf(due: readonly DueInstance[], nowMs: number): Promise<DecisionContext[]> {
    const remembered = new Map(
      due.map(({ id, lastSeq, lookbackMs }) => [id, this.recent.since(id, lastSeq, nowMs - lookbackMs)]),
    );
    const ids = due.map(({ id }) => id);
    const unknown = ids.filter((id) => !remembered.get(id));
    const contexts = await loadContexts(this.source, ids, unknown, nowMs);
    return contexts.map((context) => {
      const windows = remembered.get(context.instanceId);
      if (windows) return { ...context, windows };
      this.recent.seed(context.instanceId, context.lastSeq, nowMs - context.lookbackMs, context.windows);
      return context;
    });
  }

  private decide(context: DecisionContext, nowMs: number): Decided {
    const snapshot = snapshotOf(context, nowMs);
    const startedAt = performance.now();
    const decision = decide(snapshot, context.policy, context.guards, nowMs);
    const seconds = (performance.now() - startedAt) / 1_000;
    return { context, row: newRow(context, snapshot, decision, nowMs), seconds, decidedMs: Date.now() };
  }

  /**
   * Commits the moves of one report together, one fsync for all. Answers with the rows as they came out, by id; being
   * stopped is an outcome, not an error.
   */
  private async apply(
    moves: readonly Decided[],
    reporter: string | null,
  ): Promise<ReadonlyMap<string, DecisionRow>> {
    if (moves.length === 0) return new Map();
    const traces = beginTraces(this.tracing, moves, reporter);
    const given = moves.map(({ context, row }) => {
      const traceparent = traces.get(context.instanceId)?.commit.traceparent ?? null;
      return { context, row, traceparent };
    });
    const { opened, stopped, agents } = await this.source
      .transaction((manager) => commitMoves(manager, given, this.config.rollout.offerTimeoutMs))
      .catch((error: unknown) => {
        failTraces(traces, error);
        throw error;
      });
    const rows = moves.map(({ context, row }): DecisionRow => {
      const rollout = opened.get(context.instanceId);
      if (rollout) return { ...row, outcome: "applied", generation: rollout.generation };
      return { ...row, ...stopped.get(context.instanceId) };
    });
    for (const row of rows) {
      this.logCommit(row);
      const trace = traces.get(row.instanceId);
      if (trace) endCommit(trace, row);
    }
    const offeredMs = Date.now();
    this.queue.watch([...opened.values()].map(({ deadlineAt }) => deadlineAt.getTime()));
    await this.assignments.announce(agents.filter((agent) => agent !== reporter));
    for (const { context } of moves) {
      const rollout = opened.get(context.instanceId);
      if (rollout) offerSpan(this.tracing, context.instance, rollout, offeredMs, Date.now());
      traces.get(context.instanceId)?.report.end(Date.now());
    }
    return new Map(rows.map((row) => [row.id, row]));
  }

  /** Has moves wait for a person, each stored with its proposal. Answers with their ids. */
  private async propose(moves: readonly Decided[], nowMs: number): Promise<ReadonlySet<string>> {
    const news = moves.filter(
      ({ context, row }) =>
        !saysTheSame(context.openProposal, { from: context.current, to: row.allocation }, nowMs),
    );
    if (news.length === 0) return new Set();
    return this.source.transaction(async (manager) => {
      const wishes = news.map(({ context, row }) => wishOf(context, row));
      const { decisionIds, audit } = await openProposals(manager, wishes, new Date(nowMs));
      const rows = news.filter(({ row }) => decisionIds.has(row.id)).map(({ row }) => row);
      if (rows.length > 0) await insertDecisions(manager, rows);
      await appendAudit(manager, CONTROLLER, ...audit);
      return decisionIds;
    });
  }

  private logCommit({ instanceId, outcome, generation, reason, message }: DecisionRow): void {
    this.logger.info({ event: `decision_${outcome}`, instance: instanceId, generation, reason, message });
  }

  /** Keeps what each policy learnt, and stores the decisions that say something new or were last stored long ago. */
  private async remember(
    evaluated: readonly Decided[],
    proposed: ReadonlySet<string>,
    nowMs: number,
  ): Promise<void> {
    if (evaluated.length === 0) return;
    const news = evaluated.filter(({ context, row }) => {
      const repeats =
        context.lastKey === keyOf(row) && (context.lastStoredAtMs ?? 0) > nowMs - REPEAT_STORED_EVERY_MS;
      return isStored(row, proposed) || !repeats;
    });
    const toInsert = news.filter(({ row }) => !isStored(row, proposed)).map(({ row }) => row);
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

/** Whether the row went in with what came of it. */
function isStored(row: DecisionRow, proposed: ReadonlySet<string>): boolean {
  return row.outcome === "applied" || proposed.has(row.id);
}

function wishOf(context: DecisionContext, row: DecisionRow): Wish {
  return {
    decisionId: row.id,
    poolId: context.poolId,
    instanceId: context.instanceId,
    instance: context.instance,
    from: context.current,
    to: row.allocation,
    reason: row.reason,
    message: row.message,
    predicted: row.predicted,
    approval: context.approval,
  };
}

/** What makes two decisions say the same. */
function keyOf(row: DecisionRow): string {
  return JSON.stringify([row.kind, row.reason, row.outcome, row.mode, row.basedOnGeneration, row.allocation]);
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
    stoppedBy: null,
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
