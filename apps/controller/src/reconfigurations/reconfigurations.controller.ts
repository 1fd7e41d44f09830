import type { AckRequest, RankStep } from "@fulcrum/contracts/agent-api.js";
import type { ReconfigurationResource, ReconfigurationSummary } from "@fulcrum/contracts/resources.js";
import { routes } from "@fulcrum/contracts/routes.js";
import { Body, Controller, Headers, Inject, Param, Query } from "@nestjs/common";
import { DataSource } from "typeorm";
import type { z } from "zod";
import { assertSpeaksFor, type Caller, FromCaller } from "../access/caller.js";
import { pageBefore } from "../db/page.js";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { Handles } from "../http/handles.js";
import { ProblemError } from "../http/problem-error.js";
import { PoolRow } from "../pools/pool.rows.js";
import { AckService } from "./ack.service.js";
import { ReconfigurationRow, ReconfigurationStepRow } from "./reconfiguration.rows.js";

type Named = ReconfigurationRow & { instance: InstanceRow; pool: PoolRow };

@Controller()
export class ReconfigurationsController {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(AckService) private readonly acks: AckService,
  ) {}

  @Handles(routes.acknowledge)
  async acknowledge(
    @Body({ schema: routes.acknowledge.body }) body: AckRequest,
    @Headers("traceparent") traceparent: string | undefined,
    @FromCaller() caller: Caller,
  ) {
    assertSpeaksFor(caller, body.agent);
    return this.acks.acknowledge(body, caller.actor, traceparent ?? null);
  }

  @Handles(routes.listReconfigurations)
  async list(
    @Query({ schema: routes.listReconfigurations.query }) query: z.infer<
      typeof routes.listReconfigurations.query
    >,
  ) {
    const builder = this.named();
    if (query.instance) builder.andWhere("instance.name = :instance", { instance: query.instance });
    if (query.pool) builder.andWhere("pool.name = :pool", { pool: query.pool });
    if (query.state) builder.andWhere("row.state = :state", { state: query.state });
    return pageBefore(builder, { limit: query.limit, cursor: query.cursor }, (row) =>
      toSummary(row as Named),
    );
  }

  @Handles(routes.getReconfiguration)
  async get(
    @Param({ schema: routes.getReconfiguration.params }) params: { id: string },
  ): Promise<ReconfigurationResource> {
    const row = (await this.named().where("row.id = :id", params).getOne()) as Named | null;
    if (!row) throw new ProblemError("not_found", `There is no reconfiguration ${params.id}.`);
    const steps = await this.source.manager.find(ReconfigurationStepRow, {
      where: { reconfigurationId: row.id },
      order: { id: "ASC" },
      take: 10_000,
    });
    return {
      ...toSummary(row),
      steps: steps.map(({ at, rank, attempt, step, delivered, detail }) => ({
        at: at.toISOString(),
        rank,
        attempt,
        step,
        delivered,
        detail,
      })),
      ranks: ranksOf(steps, row),
    };
  }

  private named() {
    return this.source.manager
      .createQueryBuilder(ReconfigurationRow, "row")
      .innerJoinAndMapOne("row.instance", InstanceRow, "instance", "instance.id = row.instanceId")
      .innerJoinAndMapOne("row.pool", PoolRow, "pool", "pool.id = row.poolId");
  }
}

/** How far each rank came in the last attempt. */
function ranksOf(steps: readonly ReconfigurationStepRow[], row: Named): ReconfigurationResource["ranks"] {
  const last = new Map<number, RankStep>();
  for (const step of steps) {
    if (step.rank !== null && step.attempt === row.attempt) last.set(step.rank, step.step as RankStep);
  }
  return Array.from({ length: row.instance.rankCount }, (_, rank) => ({
    rank,
    step: last.get(rank) ?? null,
  }));
}

function toSummary(row: Named): ReconfigurationSummary {
  return {
    id: row.id,
    instance: row.instance.name,
    pool: row.pool.name,
    decision: row.decisionId,
    kind: row.kind,
    state: row.state,
    generation: row.generation,
    attempt: row.attempt,
    from: row.fromAllocation,
    to: row.toAllocation,
    failure: row.failure,
    createdAt: row.createdAt.toISOString(),
    endedAt: row.endedAt?.toISOString() ?? null,
    durationMs: row.endedAt ? row.endedAt.getTime() - row.createdAt.getTime() : null,
  };
}
