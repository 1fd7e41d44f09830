import type { Ack, AckAnswer, AckOutcome, AckRequest, RankStep } from "@fulcrum/contracts/agent-api.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager, IsNull } from "typeorm";
import { AssignmentService } from "../assignments/assignment.service.js";
import { CONFIG, type Config } from "../config.js";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { addStep } from "./open-reconfiguration.js";
import { type Aftermath, lockInstance, NOTHING, ReconfigurationService } from "./reconfiguration.service.js";
import { ReconfigurationRow } from "./reconfiguration.rows.js";
import { ReconfigurationQueue } from "./reconfiguration.queue.js";
import { backoffMs, isProgress, stateOf, stepTimeoutMs } from "./rollout.js";

interface RankRow {
  readonly rank: number;
  readonly generation: number;
  readonly attempt: number;
  readonly step: RankStep | null;
  readonly agent: string;
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

  async acknowledge(request: AckRequest): Promise<AckAnswer> {
    const results: AckAnswer["results"] = [];
    for (const ack of request.acks) {
      const { outcome, aftermath } = await this.source.transaction((manager) =>
        this.take(manager, request.agent, ack),
      );
      results.push({ instance: ack.instance, rank: ack.rank, generation: ack.generation, outcome });
      this.queue.watch(aftermath.watch);
      if (aftermath.wake.length > 0) await this.assignments.announce(aftermath.wake);
    }
    return { results };
  }

  private async take(
    manager: EntityManager,
    agent: string,
    ack: Ack,
  ): Promise<{ outcome: AckOutcome; aftermath: Aftermath }> {
    const known = await manager.findOne(InstanceRow, {
      where: { name: ack.instance, deletedAt: IsNull() },
      select: { id: true },
    });
    const instance = known ? await lockInstance(manager, known.id) : null;
    if (!instance) return nothing("unknown");
    const ranks = await ranksOf(manager, instance.id);
    const rank = ranks.find((row) => row.rank === ack.rank && row.agent === agent);
    if (!rank) return nothing("unknown");
    if (ack.generation !== instance.generation) return nothing("stale");
    const open = await manager.findOneBy(ReconfigurationRow, { instanceId: instance.id, endedAt: IsNull() });
    // After a restart an agent says again what runs; nothing is open, and nothing changes.
    if (!open) {
      await setRank(manager, instance.id, ack);
      return nothing("repeat");
    }
    if (ack.attempt !== open.attempt) return nothing("stale");
    if (!isProgress(rank.step, ack.step)) return nothing("repeat");
    await setRank(manager, instance.id, ack);
    const aftermath = await this.moveOn(manager, instance, open, ack, ranks);
    return { outcome: "applied", aftermath };
  }

  private async moveOn(
    manager: EntityManager,
    instance: InstanceRow,
    open: ReconfigurationRow,
    ack: Ack,
    ranks: readonly RankRow[],
  ): Promise<Aftermath> {
    const now = new Date();
    const detail = ack.failure ? `${ack.failure.code}: ${ack.failure.message}` : null;
    await addStep(manager, open, {
      at: now,
      step: ack.step,
      rank: ack.rank,
      delivered: ack.delivered,
      detail,
    });
    if (ack.step === "failed")
      return this.fail(manager, instance, open, detail ?? "failed", ack.failure?.retryable ?? false);
    const steps = ranks.map((row) => (row.rank === ack.rank ? ack.step : row.step));
    const state = stateOf(steps, instance.rankCount);
    if (state === "verified") {
      await this.reconfigurations.complete(manager, instance, open, now);
      return NOTHING;
    }
    if (state !== open.state) {
      const timeoutMs = stepTimeoutMs(state, this.config.rollout, instance.capabilities.prepareMs);
      await manager.update(
        ReconfigurationRow,
        { id: open.id },
        { state, deadlineAt: new Date(now.getTime() + timeoutMs) },
      );
    }
    return NOTHING;
  }

  /** A failure that may pass is offered again after a back-off; any other ends the rollout at once. */
  private async fail(
    manager: EntityManager,
    instance: InstanceRow,
    open: ReconfigurationRow,
    why: string,
    retryable: boolean,
  ): Promise<Aftermath> {
    if (!retryable || open.attempt >= this.config.rollout.maxAttempts) {
      return this.reconfigurations.giveUp(manager, instance, open, why);
    }
    const deadlineMs = Date.now() + backoffMs(open.attempt, this.config.rollout);
    await manager.update(
      ReconfigurationRow,
      { id: open.id },
      { failure: why, deadlineAt: new Date(deadlineMs) },
    );
    return { watch: [{ id: open.id, deadlineMs }], wake: [] };
  }
}

function nothing(outcome: AckOutcome): { outcome: AckOutcome; aftermath: Aftermath } {
  return { outcome, aftermath: NOTHING };
}

async function ranksOf(manager: EntityManager, instanceId: string): Promise<RankRow[]> {
  return manager.query<RankRow[]>(
    `SELECT r.rank, r.generation, r.attempt, r.step, a.name AS agent
     FROM instance_ranks r JOIN agents a ON a.id = r.agent_id WHERE r.instance_id = $1 ORDER BY r.rank`,
    [instanceId],
  );
}

async function setRank(manager: EntityManager, instanceId: string, ack: Ack): Promise<void> {
  await manager.query(
    `UPDATE instance_ranks SET generation = $3, attempt = $4, step = $5, delivered = $6, updated_at = $7
     WHERE instance_id = $1 AND rank = $2`,
    [
      instanceId,
      ack.rank,
      ack.generation,
      ack.attempt,
      ack.step,
      ack.delivered ? JSON.stringify(ack.delivered) : null,
      new Date(),
    ],
  );
}
