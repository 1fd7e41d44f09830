import type { Ack, AckAnswer, AckOutcome, AckRequest } from "@fulcrum/contracts/agent-api.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager } from "typeorm";
import { AssignmentService } from "../assignments/assignment.service.js";
import { type Actor, appendAudit, type AuditRecord, CONTROLLER } from "../audit/append-audit.js";
import { CONFIG, type Config } from "../config.js";
import type { Allocation } from "@fulcrum/core/nouns.js";
import type { InstanceRow } from "../fleet/fleet.rows.js";
import { Tracing } from "../obs/tracing.js";
import {
  type AckState,
  loadAckStates,
  type RankState,
  type Said,
  saveGates,
  saveRanks,
  saveStates,
} from "./ack-state.js";
import { allArmed, ARM_TIMEOUT_MS, GATE_OPENED, mayYetSwitch, opened, waitMs } from "./gate.js";
import { addSteps, type NewStep } from "./open-reconfiguration.js";
import { ReconfigurationQueue } from "./reconfiguration.queue.js";
import type { ReconfigurationRow } from "./reconfiguration.rows.js";
import { type Aftermath, agentsOf, ReconfigurationService } from "./reconfiguration.service.js";
import { stepSpan, type StepTold } from "./rollout-spans.js";
import { backoffMs, deliveredFault, isProgress, stateOf, stepTimeoutMs } from "./rollout.js";

interface Progress {
  readonly instance: InstanceRow;
  readonly open: ReconfigurationRow;
}

/** What a request's acknowledgements add up to; written in a fixed number of statements. */
interface Gathered {
  readonly outcomes: AckOutcome[];
  readonly said: Said[];
  readonly steps: NewStep[];
  readonly audit: AuditRecord[];
  readonly moved: Map<string, ReconfigurationRow>;
  /** Of groups: by instance, those whose gate has opened. */
  readonly opened: Map<string, InstanceRow>;
  readonly verified: Map<string, Progress>;
  readonly failed: Failed[];
  /** Told to the collector once all of it stands. */
  readonly spans: Omit<StepTold, "traceparent">[];
}

interface Failed {
  readonly progress: Progress;
  readonly ack: Ack;
  /** Another rank would go on alone: it must be told now, not after a back-off. */
  readonly withdraw: boolean;
}

/** Takes what agents say of each rank's progress. Repeats and stragglers do no harm. */
@Injectable()
export class AckService {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(ReconfigurationService) private readonly reconfigurations: ReconfigurationService,
    @Inject(ReconfigurationQueue) private readonly queue: ReconfigurationQueue,
    @Inject(AssignmentService) private readonly assignments: AssignmentService,
    @Inject(Tracing) private readonly tracing: Tracing,
  ) {}

  /** All acknowledgements of a request stand in one transaction; they are taken and answered in the order given. */
  async acknowledge(
    request: AckRequest,
    actor: Actor,
    traceparent: string | null = null,
  ): Promise<AckAnswer> {
    const { acks } = request;
    const { outcomes, aftermaths, spans } = await this.source.transaction(async (manager) => {
      const now = new Date();
      const states = await loadAckStates(manager, [...new Set(acks.map((ack) => ack.instance))]);
      const gathered = this.gather(states, request, actor, now);
      const { outcomes, spans } = gathered;
      return { outcomes, spans, aftermaths: await this.write(manager, gathered, now) };
    });
    for (const applied of spans) stepSpan(this.tracing, { ...applied, traceparent });
    this.queue.watch(aftermaths.flatMap(({ watch }) => watch));
    const wake = new Set(aftermaths.flatMap((aftermath) => aftermath.wake));
    if (wake.size > 0) await this.assignments.announce([...wake]);
    return {
      results: acks.map(({ instance, rank, generation }, i) => ({
        instance,
        rank,
        generation,
        outcome: outcomes[i]!,
      })),
    };
  }

  private gather(
    states: ReadonlyMap<string, AckState>,
    { agent, acks, sentAtMs }: AckRequest,
    actor: Actor,
    now: Date,
  ): Gathered {
    const gathered: Gathered = {
      outcomes: [],
      said: [],
      steps: [],
      audit: [],
      moved: new Map(),
      opened: new Map(),
      verified: new Map(),
      failed: [],
      spans: [],
    };
    for (const ack of acks) {
      const state = states.get(ack.instance);
      const rank = state?.ranks.find((one) => one.rank === ack.rank && one.agent === agent);
      // It may have waited for a controller that was away; both times are of the agent's clock.
      const toldAtMs = now.getTime() - Math.max(0, sentAtMs - ack.atMs);
      const told = { ack, toldAtMs };
      const outcome = state && rank ? this.take(gathered, state, rank, told, now) : "unknown";
      gathered.outcomes.push(outcome);
      if (outcome === "applied") gathered.audit.push({ ...recordOf(ack), actor });
    }
    return gathered;
  }

  private take(
    gathered: Gathered,
    state: AckState,
    rank: RankState,
    { ack: given, toldAtMs }: { readonly ack: Ack; readonly toldAtMs: number },
    now: Date,
  ): AckOutcome {
    const { instance, open } = state;
    if (given.generation !== instance.generation) return "stale";
    // After a restart an agent says again what runs; nothing is open, and nothing changes.
    if (!open) {
      gathered.said.push({ instance, ack: given, iterations: rank.iterations });
      return "repeat";
    }
    if (given.attempt !== open.attempt) return "stale";
    const ack = judged(given, open.toAllocation, instance.capabilities.limits.granularityPct);
    if (!isProgress(rank.step, ack.step)) return "repeat";
    if (ack.step === "ready") rank.iterations = ack.iterations ? { ...ack.iterations, atMs: toldAtMs } : null;
    gathered.said.push({ instance, ack, iterations: rank.iterations });
    gathered.steps.push({
      of: open,
      at: now,
      step: ack.step,
      rank: ack.rank,
      delivered: ack.delivered,
      detail: failureOf(ack),
    });
    rank.step = ack.step;
    gathered.spans.push({ open, ack, startMs: rank.heardAt.getTime(), endMs: toldAtMs });
    rank.heardAt = new Date(toldAtMs);
    this.moveOn(gathered, state, { instance, open }, ack, now);
    return "applied";
  }

  private moveOn(gathered: Gathered, state: AckState, progress: Progress, ack: Ack, now: Date): void {
    const { instance, open } = progress;
    if (ack.step === "failed") {
      const withdraw = mayYetSwitch(instance.gate, state.ranks);
      gathered.failed.push({ progress, ack, withdraw });
      state.open = null;
      return;
    }
    const steps = state.ranks.map(({ step }) => step);
    const next = stateOf(steps, instance.rankCount);
    if (next === "verified") {
      gathered.verified.set(open.id, progress);
      gathered.moved.delete(open.id);
      state.open = null;
      return;
    }
    // A rank that has failed already made the appointment for the next attempt; the others do not move it.
    if (steps.includes("failed")) return;
    const gateMs = this.passGate(gathered, state, progress, ack, now);
    if (next === open.state && gateMs === null) return;
    const timeoutMs = gateMs ?? stepTimeoutMs(next, this.config.rollout, instance.capabilities);
    open.state = next;
    open.deadlineAt = new Date(now.getTime() + timeoutMs);
    gathered.moved.set(open.id, open);
  }

  /** Opens the gate with the last rank that is ready. How long may pass from here on; null: as for any rollout. */
  private passGate(
    gathered: Gathered,
    { ranks }: AckState,
    { instance, open }: Progress,
    ack: Ack,
    now: Date,
  ): number | null {
    const { rollout } = this.config;
    const nowMs = now.getTime();
    const gate = opened(instance.gate, ranks, instance.rankCount, nowMs);
    if (gate !== null) {
      instance.gate = gate;
      gathered.opened.set(instance.id, instance);
      const { switchAt } = gate;
      const detail =
        switchAt && `prefill after iteration ${switchAt.prefill}, decode after ${switchAt.decode}`;
      gathered.steps.push({ of: open, at: now, step: GATE_OPENED, detail });
      return switchAt === null ? rollout.switchTimeoutMs : ARM_TIMEOUT_MS;
    }
    if (ack.step !== "armed" || !instance.gate?.open || instance.gate.switchAt === null) return null;
    if (!allArmed(instance.gate, ranks)) return null;
    return rollout.switchTimeoutMs + waitMs(instance.gate.switchAt, ranks, nowMs);
  }

  private async write(manager: EntityManager, gathered: Gathered, now: Date): Promise<Aftermath[]> {
    await saveRanks(manager, gathered.said, now);
    await addSteps(manager, gathered.steps);
    await saveStates(manager, gathered.moved.values());
    await saveGates(manager, gathered.opened.values());
    const wake = gathered.opened.size > 0 ? await agentsOf(manager, ...gathered.opened.keys()) : [];
    const watch = [...gathered.moved.values()].map(({ deadlineAt }) => deadlineAt.getTime());
    const verified = await this.reconfigurations.complete(manager, [...gathered.verified.values()], now);
    const aftermaths: Aftermath[] = [{ ...verified, watch, wake }];
    for (const failed of gathered.failed) aftermaths.push(await this.fail(manager, failed));
    const audit = aftermaths.flatMap((aftermath) => aftermath.audit);
    await appendAudit(manager, CONTROLLER, ...gathered.audit, ...audit);
    return aftermaths;
  }

  /** A failure that may pass is offered again after a back-off; any other ends the rollout at once. */
  private async fail(manager: EntityManager, { progress, ack, withdraw }: Failed): Promise<Aftermath> {
    const { instance, open } = progress;
    const why = failureOf(ack) ?? "failed";
    if (!ack.failure?.retryable || open.attempt >= this.config.rollout.maxAttempts) {
      return this.reconfigurations.giveUp(manager, instance, open, why);
    }
    if (withdraw) return this.reconfigurations.offerAgain(manager, instance, { ...open, failure: why });
    return this.reconfigurations.retryLater(
      manager,
      open,
      why,
      Date.now() + backoffMs(open.attempt, this.config.rollout),
    );
  }
}

/** An agent that says "verified" and shows something else has not verified: set is not delivered. */
function judged(ack: Ack, asked: Allocation, granularityPct: number): Ack {
  const fault = ack.step === "verified" ? deliveredFault(asked, ack.delivered, granularityPct) : null;
  if (fault === null) return ack;
  return { ...ack, step: "failed", failure: { code: "delivered_differs", message: fault, retryable: true } };
}

function recordOf({ instance, rank, generation, attempt, step, delivered, failure }: Ack): AuditRecord {
  const after = { rank, generation, attempt, delivered, failure };
  return { action: `rank.${step}`, subject: `instance/${instance}`, before: null, after };
}

function failureOf(ack: Ack): string | null {
  return ack.failure ? `${ack.failure.code}: ${ack.failure.message}` : null;
}
