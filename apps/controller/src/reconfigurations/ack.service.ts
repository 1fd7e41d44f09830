import type { Ack, AckAnswer, AckOutcome, AckRequest } from "@fulcrum/contracts/agent-api.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager } from "typeorm";
import { AssignmentService } from "../assignments/assignment.service.js";
import { appendAudit, CONTROLLER } from "../audit/append-audit.js";
import { CONFIG, type Config } from "../config.js";
import type { Allocation } from "@fulcrum/core/nouns.js";
import type { InstanceRow } from "../fleet/fleet.rows.js";
import { type AckState, loadAckStates, saveRanks, saveStates } from "./ack-state.js";
import { addSteps, type NewStep } from "./open-reconfiguration.js";
import { ReconfigurationQueue } from "./reconfiguration.queue.js";
import type { ReconfigurationRow } from "./reconfiguration.rows.js";
import { type Aftermath, ReconfigurationService } from "./reconfiguration.service.js";
import { backoffMs, deliveredFault, isProgress, stateOf, stepTimeoutMs } from "./rollout.js";

interface Progress {
  readonly instance: InstanceRow;
  readonly open: ReconfigurationRow;
}

/** What a request's acknowledgements add up to; written in a fixed number of statements. */
interface Gathered {
  readonly outcomes: AckOutcome[];
  readonly said: { instance: InstanceRow; ack: Ack }[];
  readonly steps: NewStep[];
  readonly moved: Map<string, ReconfigurationRow>;
  readonly verified: Map<string, Progress>;
  readonly failed: { progress: Progress; ack: Ack }[];
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
  ) {}

  /** All acknowledgements of a request stand in one transaction; they are taken and answered in the order given. */
  async acknowledge({ agent, acks }: AckRequest): Promise<AckAnswer> {
    const { outcomes, aftermaths } = await this.source.transaction(async (manager) => {
      const now = new Date();
      const states = await loadAckStates(manager, [...new Set(acks.map((ack) => ack.instance))]);
      const gathered = this.gather(states, agent, acks, now);
      return { outcomes: gathered.outcomes, aftermaths: await this.write(manager, gathered, now) };
    });
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
    agent: string,
    acks: readonly Ack[],
    now: Date,
  ): Gathered {
    const gathered: Gathered = {
      outcomes: [],
      said: [],
      steps: [],
      moved: new Map(),
      verified: new Map(),
      failed: [],
    };
    for (const ack of acks)
      gathered.outcomes.push(this.take(gathered, states.get(ack.instance), agent, ack, now));
    return gathered;
  }

  private take(
    gathered: Gathered,
    state: AckState | undefined,
    agent: string,
    given: Ack,
    now: Date,
  ): AckOutcome {
    const rank = state?.ranks.find((one) => one.rank === given.rank && one.agent === agent);
    if (!state || !rank) return "unknown";
    const { instance, open } = state;
    if (given.generation !== instance.generation) return "stale";
    // After a restart an agent says again what runs; nothing is open, and nothing changes.
    if (!open) {
      gathered.said.push({ instance, ack: given });
      return "repeat";
    }
    if (given.attempt !== open.attempt) return "stale";
    const ack = judged(given, open.toAllocation);
    if (!isProgress(rank.step, ack.step)) return "repeat";
    gathered.said.push({ instance, ack });
    gathered.steps.push({
      of: open,
      at: now,
      step: ack.step,
      rank: ack.rank,
      delivered: ack.delivered,
      detail: failureOf(ack),
    });
    rank.step = ack.step;
    this.moveOn(gathered, state, { instance, open }, ack, now);
    return "applied";
  }

  private moveOn(gathered: Gathered, state: AckState, progress: Progress, ack: Ack, now: Date): void {
    const { instance, open } = progress;
    if (ack.step === "failed") {
      gathered.failed.push({ progress, ack });
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
    if (next === open.state || steps.includes("failed")) return;
    const timeoutMs = stepTimeoutMs(next, this.config.rollout, instance.capabilities.prepareMs);
    open.state = next;
    open.deadlineAt = new Date(now.getTime() + timeoutMs);
    gathered.moved.set(open.id, open);
  }

  private async write(manager: EntityManager, gathered: Gathered, now: Date): Promise<Aftermath[]> {
    await saveRanks(manager, gathered.said, now);
    await addSteps(manager, gathered.steps);
    await saveStates(manager, gathered.moved.values());
    const watch = [...gathered.moved.values()].map(({ deadlineAt }) => deadlineAt.getTime());
    const verified = await this.reconfigurations.complete(manager, [...gathered.verified.values()], now);
    const aftermaths: Aftermath[] = [{ ...verified, watch }];
    for (const { progress, ack } of gathered.failed) aftermaths.push(await this.fail(manager, progress, ack));
    await appendAudit(manager, CONTROLLER, ...aftermaths.flatMap(({ audit }) => audit));
    return aftermaths;
  }

  /** A failure that may pass is offered again after a back-off; any other ends the rollout at once. */
  private async fail(manager: EntityManager, { instance, open }: Progress, ack: Ack): Promise<Aftermath> {
    const why = failureOf(ack) ?? "failed";
    if (!ack.failure?.retryable || open.attempt >= this.config.rollout.maxAttempts) {
      return this.reconfigurations.giveUp(manager, instance, open, why);
    }
    return this.reconfigurations.retryLater(
      manager,
      open,
      why,
      Date.now() + backoffMs(open.attempt, this.config.rollout),
    );
  }
}

/** An agent that says "verified" and shows something else has not verified: set is not delivered. */
function judged(ack: Ack, asked: Allocation): Ack {
  const fault = ack.step === "verified" ? deliveredFault(asked, ack.delivered) : null;
  if (fault === null) return ack;
  return { ...ack, step: "failed", failure: { code: "delivered_differs", message: fault, retryable: true } };
}

function failureOf(ack: Ack): string | null {
  return ack.failure ? `${ack.failure.code}: ${ack.failure.message}` : null;
}
