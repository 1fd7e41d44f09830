import type { DecisionResource, DecisionSummary } from "@fulcrum/contracts/resources.js";
import { routes } from "@fulcrum/contracts/routes.js";
import { Controller, Inject, Param, Query } from "@nestjs/common";
import { DataSource } from "typeorm";
import type { z } from "zod";
import { pageBefore } from "../db/page.js";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { Handles } from "../http/handles.js";
import { ProblemError } from "../http/problem-error.js";
import { OutcomeRead } from "../outcomes/outcome.read.js";
import { PoolRow } from "../pools/pool.rows.js";
import { standingProposal } from "../proposals/proposal.read.js";
import { ReconfigurationRow } from "../reconfigurations/reconfiguration.rows.js";
import { DecisionRow } from "./decision.row.js";

type Named = DecisionRow & { instance: InstanceRow; pool: PoolRow };

/** What a list leaves out: the big columns. */
const SUMMARY = [
  "id",
  "at",
  "kind",
  "reason",
  "message",
  "mode",
  "outcome",
  "basedOnGeneration",
  "generation",
  "allocation",
  "predicted",
  "policyName",
  "policyVersion",
  "poolId",
  "instanceId",
].map((column) => `row.${column}`);

@Controller()
export class DecisionsController {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(OutcomeRead) private readonly outcomes: OutcomeRead,
  ) {}

  @Handles(routes.listDecisions)
  async list(
    @Query({ schema: routes.listDecisions.query }) query: z.infer<typeof routes.listDecisions.query>,
  ) {
    const builder = this.source.manager
      .createQueryBuilder(DecisionRow, "row")
      .select(SUMMARY)
      .innerJoinAndMapOne("row.instance", InstanceRow, "instance", "instance.id = row.instanceId")
      .innerJoinAndMapOne("row.pool", PoolRow, "pool", "pool.id = row.poolId");
    if (query.instance) builder.andWhere("instance.name = :instance", { instance: query.instance });
    if (query.pool) builder.andWhere("pool.name = :pool", { pool: query.pool });
    if (query.kind) builder.andWhere("row.kind = :kind", { kind: query.kind });
    if (query.reason) builder.andWhere("row.reason = :reason", { reason: query.reason });
    if (query.from) builder.andWhere("row.at >= :from", { from: query.from });
    if (query.to) builder.andWhere("row.at < :to", { to: query.to });
    return pageBefore(builder, { limit: query.limit, cursor: query.cursor }, (row) =>
      toSummary(row as Named),
    );
  }

  @Handles(routes.getDecision)
  async get(@Param({ schema: routes.getDecision.params }) params: { id: string }): Promise<DecisionResource> {
    const row = (await this.source.manager
      .createQueryBuilder(DecisionRow, "row")
      .innerJoinAndMapOne("row.instance", InstanceRow, "instance", "instance.id = row.instanceId")
      .innerJoinAndMapOne("row.pool", PoolRow, "pool", "pool.id = row.poolId")
      .where("row.id = :id", params)
      .getOne()) as Named | null;
    if (!row) throw new ProblemError("not_found", `There is no decision ${params.id}.`);
    const reconfiguration = await this.source.manager.findOne(ReconfigurationRow, {
      where: { decisionId: row.id, kind: "decision" },
      select: { id: true },
    });
    return {
      ...toSummary(row),
      decidedAtMs: row.decidedAtMs,
      snapshot: { ...row.snapshot },
      policyConfig: { ...row.policyConfig },
      guardConfig: { ...row.guardConfig },
      decision: { ...row.decision },
      stoppedBy: row.stoppedBy,
      proposal: await standingProposal(this.source.manager, row),
      reconfiguration: reconfiguration?.id ?? null,
      trial: await this.outcomes.ofDecision(row.id),
    };
  }
}

function toSummary(row: Named): DecisionSummary {
  return {
    id: row.id,
    at: row.at.toISOString(),
    pool: row.pool.name,
    instance: row.instance.name,
    kind: row.kind,
    reason: row.reason,
    message: row.message,
    mode: row.mode,
    outcome: row.outcome,
    basedOnGeneration: row.basedOnGeneration,
    generation: row.generation,
    allocation: row.allocation,
    predicted: row.predicted,
    policy: { name: row.policyName, version: row.policyVersion },
  };
}
