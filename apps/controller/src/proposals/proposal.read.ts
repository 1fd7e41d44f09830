import type { Proposal, proposalQuery } from "@fulcrum/contracts/proposals.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager, In } from "typeorm";
import type { z } from "zod";
import { pageBefore } from "../db/page.js";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { ProblemError } from "../http/problem-error.js";
import { PoolRow } from "../pools/pool.rows.js";
import { ProposalRow, ProposalVoteRow } from "./proposal.rows.js";

type Named = ProposalRow & { readonly instance: InstanceRow; readonly pool: PoolRow };

@Injectable()
export class ProposalRead {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  async list(query: z.infer<typeof proposalQuery>) {
    const builder = named(this.source.manager);
    // One that nobody has looked at since its time ran out is shown as what it is.
    const lapsed = "row.endedAt IS NULL AND row.expiresAt <= :now";
    const now = new Date();
    if (query.state === "expired") builder.andWhere(`(row.state = 'expired' OR (${lapsed}))`, { now });
    else if (query.state) builder.andWhere("row.state = :state", { state: query.state });
    if (query.state === "open") builder.andWhere(`NOT (${lapsed})`, { now });
    if (query.pool) builder.andWhere("pool.name = :pool", { pool: query.pool });
    if (query.instance) builder.andWhere("instance.name = :instance", { instance: query.instance });
    const { items, nextCursor } = await pageBefore(
      builder,
      { limit: query.limit, cursor: query.cursor },
      (row) => row as Named,
    );
    return { items: await withVotes(this.source.manager, items, now), nextCursor };
  }

  get(id: string): Promise<Proposal> {
    return readProposal(this.source.manager, id);
  }
}

/** @throws ProblemError not_found */
export async function readProposal(manager: EntityManager, id: string): Promise<Proposal> {
  const row = (await named(manager).where("row.id = :id", { id }).getOne()) as Named | null;
  if (!row) throw new ProblemError("not_found", `There is no proposal ${id}.`);
  const [proposal] = await withVotes(manager, [row], new Date());
  return proposal!;
}

function named(manager: EntityManager) {
  return manager
    .createQueryBuilder(ProposalRow, "row")
    .innerJoinAndMapOne("row.instance", InstanceRow, "instance", "instance.id = row.instanceId")
    .innerJoinAndMapOne("row.pool", PoolRow, "pool", "pool.id = row.poolId");
}

async function withVotes(manager: EntityManager, rows: readonly Named[], now: Date): Promise<Proposal[]> {
  const votes = await manager.find(ProposalVoteRow, {
    where: { proposalId: In(rows.map(({ id }) => id)) },
    order: { at: "ASC" },
  });
  return rows.map((row) =>
    toProposal(
      row,
      votes.filter(({ proposalId }) => proposalId === row.id),
      now,
    ),
  );
}

function toProposal(row: Named, votes: readonly ProposalVoteRow[], now: Date): Proposal {
  const lapsed = row.endedAt === null && row.expiresAt <= now;
  const endedAt = lapsed ? row.expiresAt : row.endedAt;
  return {
    id: row.id,
    decision: row.decisionId,
    pool: row.pool.name,
    instance: row.instance.name,
    basedOnGeneration: row.basedOnGeneration,
    from: row.fromAllocation,
    to: row.toAllocation,
    reason: row.reason,
    message: row.message,
    predicted: row.predicted,
    state: lapsed ? "expired" : row.state,
    required: row.required,
    votes: votes.map(({ actor, keyId, verdict, comment, at }) => ({
      actor,
      keyId,
      verdict,
      comment,
      at: at.toISOString(),
    })),
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt.toISOString(),
    endedAt: endedAt?.toISOString() ?? null,
    generation: row.generation,
  };
}
