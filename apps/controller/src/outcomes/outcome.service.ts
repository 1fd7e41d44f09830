import { sameAllocation } from "@fulcrum/core/allocation.js";
import { judgeHindsight } from "@fulcrum/core/outcome/hindsight.js";
import { judge, type Judgement, OUTCOME_RULES } from "@fulcrum/core/outcome/judge.js";
import type { Signal } from "@fulcrum/core/decision.js";
import type { Window } from "@fulcrum/core/nouns.js";
import { clumpingOf, type PredictedLatencies } from "@fulcrum/core/outcome/attainment.js";
import { summarise } from "@fulcrum/core/signal/summarise.js";
import { Inject, Injectable, type OnModuleInit } from "@nestjs/common";
import type { Logger } from "pino";
import { DataSource, type EntityManager, IsNull } from "typeorm";
import { AssignmentService } from "../assignments/assignment.service.js";
import { appendAudit, type AuditRecord, CONTROLLER } from "../audit/append-audit.js";
import { CONFIG, type Config } from "../config.js";
import { shareHolds } from "../db/holds-lock.js";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { standingOf } from "../holds/standing.js";
import { LOGGER } from "../obs/logger.js";
import { Metrics } from "../obs/metrics.js";
import { PoolRow } from "../pools/pool.rows.js";
import { ReconfigurationQueue } from "../reconfigurations/reconfiguration.queue.js";
import { type Aftermath, lockInstance, NOTHING } from "../reconfigurations/reconfiguration.service.js";
import { changeInForce, takeBackVerified } from "../reconfigurations/take-back.js";
import { OutcomeRow } from "./outcome.row.js";
import {
  decisionOf,
  dueTrials,
  historyOf,
  type LeftTrial,
  leftTrials,
  lookLater,
  type OpenTrial,
  openTrials,
  windowsOf,
} from "./trials.js";

/** So many changes taken back in a row, within this time, and nothing is tried any more until a person says so. */
const MAX_REVERTS = 3;
const REVERTS_WITHIN_MS = 24 * 3_600_000;
/** The least between two looks at a trial. Each look waits as long again as the trial has lasted: seven in five minutes. */
const LOOK_EVERY_MS = 5_000;

type Found = Judgement & Pick<OutcomeRow, "hindsight">;

/** Judges what was decided by what came after it, and takes back what made it worse. Works with every sweep. */
@Injectable()
export class OutcomeService implements OnModuleInit {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(AssignmentService) private readonly assignments: AssignmentService,
    @Inject(ReconfigurationQueue) private readonly queue: ReconfigurationQueue,
    @Inject(Metrics) private readonly metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onModuleInit(): void {
    this.queue.onSweep(() => this.sweep());
  }

  /** Opens the trials of what has happened, and looks at those that are due. */
  async sweep(nowMs: number = Date.now()): Promise<void> {
    await openTrials(this.source, nowMs);
    const later: { trial: OpenTrial; atMs: number }[] = [];
    for (const trial of await dueTrials(this.source, nowMs)) {
      if (!(await this.settled(trial, nowMs))) later.push({ trial, atMs: nextLookMs(trial, nowMs) });
    }
    await lookLater(this.source, later);
    await this.takeBackLeft();
  }

  /** Whether it was judged. One that cannot be is looked at again, and keeps no other from its turn. */
  private async settled(trial: OpenTrial, nowMs: number): Promise<boolean> {
    try {
      const found = await this.look(trial, nowMs);
      if (found) await this.end(trial, found);
      return found !== null;
    } catch (error) {
      const { decision_id: decision, instance_id: instance } = trial;
      this.logger.warn({ event: "trial_failed", decision, instance, err: error });
      return false;
    }
  }

  private async look(trial: OpenTrial, nowMs: number): Promise<Found | null> {
    const { subject, slo, guards } = trial;
    const windows = await windowsOf(this.source, trial, nowMs);
    const startedMs = trial.started_at.getTime();
    const { minSamples, staleAfterMs } = guards;
    const after = summarise(
      windows,
      {
        sinceMs: startedMs,
        currentGeneration: trial.generation,
        lookbackMs: nowMs - startedMs,
        // All of them count, not only the newest that are enough for a decision.
        guards: { minSamples: Number.MAX_SAFE_INTEGER, staleAfterMs },
      },
      nowMs,
    );
    const isMove = subject === "move";
    const staying = stayPrediction(trial);
    const history = await historyOf(this.source, trial);
    const seen = {
      subject,
      slo,
      before: beforeOf(trial, history),
      clumping: clumpingOf(history, slo),
      predicted: isMove ? trial.predicted : staying,
      predictedStay: isMove ? staying : null,
      after,
      over: overBecause(trial, nowMs),
    };
    const found = judge(seen, { ...OUTCOME_RULES, minSamples });
    if (found === null || subject === "move") return found && { ...found, hindsight: null };
    const decided = await decisionOf(this.source, trial);
    return { ...found, hindsight: decided && judgeHindsight({ ...decided, after, minSamples }) };
  }

  private async end(trial: OpenTrial, found: Found): Promise<void> {
    const revertible =
      trial.subject === "move" &&
      found.worseThan === "before" &&
      takesBack(trial.pool_mode, trial.auto_rollback);
    const aftermath = await this.source.transaction(async (manager) => {
      // Before any row's lock, as those who make a hold take it.
      if (revertible) await shareHolds(manager);
      const held = revertible && (await isHeld(manager, trial));
      if (!(await close(manager, trial, held ? { ...found, message: found.message + LEFT } : found)))
        return null;
      const taken = revertible ? await this.takeBack(manager, trial, found.message) : NOTHING;
      await appendAudit(manager, CONTROLLER, ...taken.audit);
      return taken;
    });
    if (aftermath === null) return;
    this.metrics.judged(trial.subject, found.verdict);
    if (found.verdict === "worse") {
      const { decision_id: decision, instance_id: instance } = trial;
      const takenBack = aftermath.watch.length > 0;
      this.logger.warn({ event: "outcome_worse", decision, instance, takenBack, message: found.message });
    }
    await this.followUp(aftermath);
  }

  /** What was found worse while somebody held the instance, and runs on now that nobody does. */
  private async takeBackLeft(): Promise<void> {
    for (const trial of await leftTrials(this.source)) {
      const aftermath = await this.source.transaction(async (manager) => {
        await shareHolds(manager);
        const taken = await this.takeBack(manager, trial, trial.message.replace(LEFT, ""));
        await appendAudit(manager, CONTROLLER, ...taken.audit);
        return taken;
      });
      await this.followUp(aftermath);
    }
  }

  private async followUp({ watch, wake }: Aftermath): Promise<void> {
    this.queue.watch(watch);
    await this.assignments.announce(wake);
  }

  /** Only what still runs is taken back, and what a person holds is left alone. */
  private async takeBack(
    manager: EntityManager,
    trial: Omit<LeftTrial, "message">,
    why: string,
  ): Promise<Aftermath> {
    const instance = await lockInstance(manager, trial.instance_id);
    if (!instance || instance.generation !== trial.generation) return NOTHING;
    if (await isHeld(manager, trial)) return NOTHING;
    // Whoever has turned it off since the trial was read has been answered.
    const pool = await manager.findOneByOrFail(PoolRow, { id: instance.poolId });
    if (!takesBack(pool.mode, pool.autoRollback)) return NOTHING;
    const change = await changeInForce(manager, instance);
    if (!change) return NOTHING;
    const { offerTimeoutMs } = this.config.rollout;
    const taken = await takeBackVerified(manager, instance, change, why, offerTimeoutMs);
    if (taken.watch.length === 0) return NOTHING;
    const { decision_id: decisionId, subject } = trial;
    await manager.update(OutcomeRow, { decisionId, subject }, { takenBack: true });
    const degraded = await this.degrade(manager, instance);
    return { ...taken, audit: [...taken.audit, ...degraded] };
  }

  /** After too many in a row the instance is left where it is until a person has looked. */
  private async degrade(manager: EntityManager, instance: InstanceRow): Promise<AuditRecord[]> {
    if (instance.degradedCause !== null) return [];
    const sinceMs = Math.max(Date.now() - REVERTS_WITHIN_MS, instance.degradedClearedAt?.getTime() ?? 0);
    const rows = await manager.query<{ taken_back: boolean }[]>(
      `SELECT taken_back FROM outcomes
       WHERE instance_id = $1 AND subject = 'move' AND ended_at > $2 AND verdict <> 'cannot_tell'
       ORDER BY generation DESC LIMIT ${MAX_REVERTS}`,
      [instance.id, new Date(sinceMs)],
    );
    const inARow = rows.length === MAX_REVERTS && rows.every((row) => row.taken_back);
    if (!inARow) return [];
    await manager.update(InstanceRow, { id: instance.id }, { degraded: true, degradedCause: "reverts" });
    return [
      {
        action: "instance.degraded",
        subject: `instance/${instance.name}`,
        before: { degraded: instance.degraded },
        after: { degraded: true, why: `${MAX_REVERTS} changes in a row made it worse and were taken back` },
      },
    ];
  }
}

/** Added to the sentence of a change that is left as it is for now. */
const LEFT = " It is left while the instance is held, and taken back when that ends.";

async function isHeld(
  manager: EntityManager,
  { instance_id: id }: Pick<LeftTrial, "instance_id">,
): Promise<boolean> {
  return (await standingOf(manager, [id], Date.now())).size > 0;
}

/** What the decision saw; where the change waited for a person, what was just before it. */
function beforeOf(trial: OpenTrial, history: readonly Window[]): Signal {
  if (!trial.waited) return trial.before;
  const { based_on: currentGeneration, lookback_ms: lookbackMs, guards } = trial;
  const options = { sinceMs: null, currentGeneration, lookbackMs, guards };
  return summarise(history, options, trial.begun_at.getTime());
}

function takesBack(mode: PoolRow["mode"], autoRollback: boolean): boolean {
  return autoRollback && (mode === "enforce" || mode === "canary");
}

/** Answers whether it was this replica that closed it. */
async function close(manager: EntityManager, trial: OpenTrial, found: Found): Promise<boolean> {
  const { decision_id: decisionId, subject } = trial;
  const { verdict, worseThan, requests, before, predicted, observed, message, hindsight } = found;
  const { affected } = await manager.update(
    OutcomeRow,
    { decisionId, subject, endedAt: IsNull() },
    { endedAt: new Date(), verdict, worseThan, requests, before, predicted, observed, message, hindsight },
  );
  return affected === 1;
}

/** What the policy expected of the allocation that was in force, among all that it weighed. */
function stayPrediction({ candidates, current }: OpenTrial): PredictedLatencies | null {
  const stay = candidates?.find(({ allocation }) => sameAllocation(allocation, current));
  return stay ? { ttftMs: stay.ttftMs, tpotMs: stay.tpotMs } : null;
}

function overBecause(trial: OpenTrial, nowMs: number): string | null {
  if (trial.deleted) return "the instance was deleted";
  if (trial.generation_now !== trial.generation) return `generation ${trial.generation + 1} came`;
  const ageMs = nowMs - trial.started_at.getTime();
  return ageMs >= OUTCOME_RULES.longestMs ? `${OUTCOME_RULES.longestMs / 60_000} minutes are over` : null;
}

function nextLookMs({ started_at: startedAt }: OpenTrial, nowMs: number): number {
  const startedMs = startedAt.getTime();
  const waitMs = Math.max(LOOK_EVERY_MS, nowMs - startedMs);
  return Math.max(nowMs + LOOK_EVERY_MS, Math.min(nowMs + waitMs, startedMs + OUTCOME_RULES.longestMs));
}
