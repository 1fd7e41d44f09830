import type { Ack, Assignment, RankStep } from "@fulcrum/contracts/agent-api.js";
import type { Logger } from "pino";
import { type Action, nextAction, type Progress, type Step } from "./apply.js";
import { backoffMs } from "./backoff.js";
import type { Clock } from "./clock.js";
import {
  type ActualState,
  type DriverCapabilities,
  DriverError,
  type PartitionDriver,
  type SwitchAt,
} from "./partition-driver.js";
import { IterationRate } from "./iteration-rate.js";
import type { Failure, Journal } from "./journal.js";
import { stepAcks } from "./step-acks.js";
import { type Goal, Targets } from "./targets.js";

export interface RolloutOptions {
  readonly instance: string;
  readonly ranks: readonly number[];
  readonly driver: PartitionDriver;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Logger;
  readonly deadlines: Deadlines;
  /** Between two looks at an engine that is preparing or switching. */
  readonly pollMs: number;
  /** Between two looks at an engine that runs what it should. */
  readonly idleMs: number;
  /** Read-back that also notices a restart of the engine. @throws DriverError */
  readonly observe: () => Promise<ActualState>;
  readonly capabilities: () => Promise<DriverCapabilities>;
  readonly emit: (acks: readonly Ack[]) => void;
  readonly stepTook: (step: string, durationMs: number) => void;
}

export interface Deadlines {
  readonly prepareMs: number;
  readonly switchMs: number;
  readonly verifyMs: number;
}

/** The goal under way. */
interface Pursuit extends Progress {
  readonly goal: Goal;
  /** Of the engine that is worked on; null while it has not been heard. */
  readonly bootId: string | null;
  readonly sinceMs: number;
  readonly told: readonly RankStep[];
}

/** Of restoring the last good allocation: nobody else will try, so the agent does until it succeeds. */
const RESTORE_BACKOFF = { firstMs: 1_000, capMs: 30_000 };
/** Steps in which the engine may have a preparation, or a switch that no worker has begun, that can be dropped. */
const REVOCABLE: ReadonlySet<Step> = new Set<Step>(["waiting", "preparing", "ready", "armed", "switching"]);
const SILENT_PAUSE_MS = 1_000;
/** Between two repeats of an end that the controller has already been told. */
const RETELL_MS = 5_000;

/** Brings one instance to its goal, one driver action at a time. */
export class Rollout {
  readonly targets: Targets;
  private pursuit: Pursuit | null = null;
  private atGoal = false;
  private restoreFailures = 0;
  private restoreNotBeforeMs = 0;
  private retellNotBeforeMs = 0;
  private lastActual: ActualState | null = null;
  private readonly rate = new IterationRate();

  constructor(private readonly options: RolloutOptions) {
    this.targets = new Targets(options.journal);
  }

  /** Whether the last look found the engine running what it should. */
  get settled(): boolean {
    return this.atGoal;
  }

  /** Somebody else saw that the engine began anew: until the next look nothing is known to be settled. */
  unsettle(): void {
    this.atGoal = false;
  }

  /** Takes an assignment in; never waits. */
  offer(assignment: Assignment): "accepted" | "repeat" | "refused" {
    const { log, clock } = this.options;
    const { generation, attempt } = assignment;
    const offer = this.targets.offer(assignment);
    if (offer.kind === "refused") {
      log.warn({ event: "assignment_refused", generation, highest: offer.highest }, "older than one seen");
    } else if (offer.kind === "accepted") {
      log.info({ event: "assignment_accepted", generation, attempt, reason: assignment.reason });
      this.restoreFailures = 0;
      // The assignment may tell anew what was told of an earlier one.
      this.retellNotBeforeMs = 0;
    } else if (offer.settled && clock.monotonicMs() >= this.retellNotBeforeMs) {
      this.tellEnd();
    }
    return offer.kind;
  }

  /** One look and at most one action. Resolves with the time until the next is worth while. Never throws. */
  async pass(): Promise<number> {
    const { pollMs, idleMs } = this.options;
    let goal: Goal | null = null;
    try {
      const actual = await this.options.observe();
      this.lastActual = actual;
      const now = this.options.clock.monotonicMs();
      this.rate.note(actual.bootId, actual.iterations ?? null, now);
      goal = this.targets.goal(actual.generation) ?? this.unverifiedRestore();
      this.atGoal = goal === null;
      if (goal === null) {
        this.pursuit = null;
        this.restoreFailures = 0;
        return idleMs;
      }
      if (goal.kind === "restore" && now < this.restoreNotBeforeMs) return pollMs;
      const progress = this.progressOf(goal, actual.bootId);
      await this.act(goal, nextAction(goal, progress, actual, now));
      return pollMs;
    } catch (error) {
      if (!(error instanceof DriverError)) throw error;
      return this.afterError(goal ?? this.targets.goal(0), error);
    }
  }

  private async act(goal: Goal, action: Action): Promise<void> {
    const { driver } = this.options;
    switch (action.kind) {
      case "wait":
        return;
      case "abort":
        return driver.rollback(action.generation);
      case "prepare":
        return this.prepare(goal);
      case "ready":
        this.tell(goal, "ready");
        return this.pursuit?.step === "ready" ? undefined : this.enter("ready", Infinity);
      case "commit":
        return this.commit(goal, action.switchAt);
      case "verify":
        return this.verify(goal);
      case "fail":
        return this.fail(goal, action.failure);
    }
  }

  private async prepare(goal: Goal): Promise<void> {
    const { driver, journal, log, deadlines } = this.options;
    const plan = driver.plan(goal, await this.options.capabilities());
    const { generation, attempt, kind } = goal;
    if (plan.adjusted.length > 0) {
      log.warn(
        { event: "target_adjusted", generation, adjusted: plan.adjusted },
        "to what the driver allows",
      );
    }
    log.info({ event: "prepare", generation, attempt, kind, asked: plan.asked });
    // The fence must be on disk before the engine hears of the generation.
    await journal.flush();
    await driver.prepare(plan);
    this.tell(goal, "preparing");
    this.enter("preparing", deadlines.prepareMs);
  }

  private async commit(goal: Goal, switchAt: SwitchAt | null): Promise<void> {
    const { driver, deadlines, log } = this.options;
    this.tell(goal, "ready");
    const capabilities = await this.options.capabilities();
    await driver.commit(driver.plan(goal, capabilities), switchAt);
    // A driver that restarts the engine needs its time to switch; three times of it, as to prepare.
    const restartMs = capabilities.live ? 0 : 3 * (capabilities.prepareMs ?? 0);
    if (switchAt === null) return this.enter("switching", deadlines.switchMs + restartMs);
    log.info({ event: "armed", generation: goal.generation, attempt: goal.attempt, switchAt });
    this.tell(goal, "armed");
    this.enter("armed", Infinity);
  }

  private async verify(goal: Goal): Promise<void> {
    const { driver, deadlines, clock, log } = this.options;
    if (this.pursuit?.step !== "verifying") {
      // Preparing: the answer to the commit was lost, but the engine did it.
      if (this.pursuit?.step !== "waiting") this.tell(goal, "switched");
      this.enter("verifying", deadlines.verifyMs);
    }
    const verdict =
      goal.generation === 0
        ? // What the engine started with was never asked for, so there is nothing to compare it to.
          ({ kind: "delivered" } as const)
        : await driver.verify(driver.plan(goal, await this.options.capabilities()));
    if (verdict.kind === "delivered" || verdict.kind === "unverified") {
      const why = verdict.kind === "unverified" ? verdict.message : undefined;
      log.info({ event: "verified", generation: goal.generation, kind: goal.kind, readBackMissing: why });
      await this.targets.verified(goal, why !== undefined);
      this.end(goal, "verified", null);
    } else if (verdict.kind === "not_delivered" || clock.monotonicMs() > (this.pursuit?.deadlineAtMs ?? 0)) {
      const message = verdict.kind === "pending" ? verdict.why : verdict.message;
      await this.fail(goal, { code: "not_delivered", message, retryable: true });
    }
  }

  private async fail(goal: Goal, failure: Failure): Promise<void> {
    const { driver, log, clock } = this.options;
    log.error({ event: "rollout_failed", generation: goal.generation, kind: goal.kind, failure });
    if (this.pursuit && REVOCABLE.has(this.pursuit.step)) {
      // Best effort: what stays prepared is replaced by the next preparation.
      await driver.rollback(goal.generation).catch((error: unknown) => {
        log.warn({ event: "rollback_failed", generation: goal.generation, error: String(error) });
      });
    }
    if (goal.kind === "restore") {
      this.restoreFailures += 1;
      this.restoreNotBeforeMs =
        clock.monotonicMs() + backoffMs(this.restoreFailures, RESTORE_BACKOFF, Math.random());
    }
    await this.targets.failed(goal, failure);
    this.end(goal, "failed", failure);
  }

  /** A silent engine gets until the step's deadline; a refusal ends the attempt, unless it only says "not yet". */
  private async afterError(goal: Goal | null, error: DriverError): Promise<number> {
    const { pollMs, idleMs, clock, log } = this.options;
    const { code, message, retryable } = error;
    if (error.silent) log.debug({ event: "driver_silent", code, message });
    if (goal === null) return idleMs;
    const overdue = clock.monotonicMs() > this.progressOf(goal, null).deadlineAtMs;
    if (error.silent && goal.kind === "restore") this.pursuit = null;
    else if (overdue || (!error.silent && code !== "not_ready")) {
      await this.fail(goal, { code: code.slice(0, 63), message: message.slice(0, 1_000), retryable });
    }
    return error.silent ? Math.max(pollMs, Math.min(idleMs, SILENT_PAUSE_MS)) : pollMs;
  }

  /**
   * The progress on this goal; a new goal, a new attempt and a new engine all begin at the beginning.
   * `bootId` null: the engine was not heard. The wait for an engine counts towards the first step's deadline.
   */
  private progressOf(goal: Goal, bootId: string | null): Progress {
    const same = this.pursuit && isSame(this.pursuit.goal, goal) ? this.pursuit : null;
    if (same && (bootId === null || bootId === same.bootId)) return same;
    const now = this.options.clock.monotonicMs();
    const deadlineAtMs = same?.bootId === null ? same.deadlineAtMs : now + this.options.deadlines.prepareMs;
    this.pursuit = { goal, bootId, step: "waiting", sinceMs: now, deadlineAtMs, told: [] };
    return this.pursuit;
  }

  /** The engine runs again what it lost, but nobody has read back yet whether it delivers it. */
  private unverifiedRestore(): Goal | null {
    if (this.pursuit === null || this.pursuit.step === "waiting") return null;
    return this.pursuit.goal.kind === "restore" ? this.pursuit.goal : null;
  }

  private enter(step: Step, limitMs: number): void {
    if (this.pursuit === null) return;
    const now = this.options.clock.monotonicMs();
    this.options.stepTook(this.pursuit.step, now - this.pursuit.sinceMs);
    this.pursuit = { ...this.pursuit, step, sinceMs: now, deadlineAtMs: now + limitMs };
  }

  private end(goal: Goal, step: "verified" | "failed", failure: Failure | null): void {
    if (this.pursuit) {
      this.options.stepTook(this.pursuit.step, this.options.clock.monotonicMs() - this.pursuit.sinceMs);
    }
    this.pursuit = null;
    // A restore that failed is tried again, so it has not ended.
    if (goal.kind === "offered" || (step === "verified" && this.targets.isTarget(goal))) {
      this.send(goal, step, failure);
      this.retellNotBeforeMs = this.options.clock.monotonicMs() + RETELL_MS;
    }
  }

  private tellEnd(): void {
    const target = this.targets.current;
    if (!target || target.outcome === "open") return;
    // An engine that has begun anew does not run it any more; the restore will tell when it does.
    if (target.outcome === "verified" && this.lastActual?.generation !== target.generation) return;
    this.send(target, target.outcome, target.failure);
    this.retellNotBeforeMs = this.options.clock.monotonicMs() + RETELL_MS;
  }

  /** Steps on the way are told only of what the controller follows. */
  private tell(goal: Goal, step: RankStep): void {
    if (goal.kind !== "offered" || this.pursuit?.told.includes(step)) return;
    if (this.pursuit) this.pursuit = { ...this.pursuit, told: [...this.pursuit.told, step] };
    this.send(goal, step, null);
  }

  private send(
    of: { readonly generation: number; readonly attempt: number },
    step: RankStep,
    failure: Failure | null,
  ): void {
    const { instance, ranks, clock, emit, journal } = this.options;
    const { generation, attempt } = of;
    const told = { instance, ranks, generation, attempt, step, failure, atMs: clock.nowMs() };
    emit(stepAcks(told, this.lastActual, journal.state.target, this.rate));
  }
}

function isSame(a: Goal, b: Goal): boolean {
  return a.generation === b.generation && a.attempt === b.attempt && a.kind === b.kind;
}
