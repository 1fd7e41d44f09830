import type { Proposal, proposalQuery } from "@fulcrum/contracts/proposals.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager, In, IsNull, Not } from "typeorm";
import type { z } from "zod";
import { ApiKeyRow } from "../access/api-key.row.js";
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

/** The proposal that a decision made, or that was open then and said the same; null: a person was not asked. */
export async function standingProposal(
  manager: EntityManager,
  { id, instanceId, kind, mode, at }: StandingQuery,
): Promise<Proposal | null> {
  if (kind !== "move" || mode !== "recommend") return null;
  const row = (await named(manager)
    .where("row.instanceId = :instanceId", { instanceId })
    .andWhere(
      `(row.decisionId = :id OR (row.createdAt <= :at AND (row.endedAt IS NULL OR row.endedAt > :at)))`,
      { id, at },
    )
    .orderBy("CASE WHEN row.decisionId = :id THEN 0 ELSE 1 END")
    .addOrderBy("row.id", "DESC")
    .limit(1)
    .getOne()) as Named | null;
  if (!row) return null;
  const [proposal] = await withVotes(manager, [row], new Date());
  return proposal!;
}

interface StandingQuery {
  readonly id: string;
  readonly instanceId: string;
  readonly kind: "move" | "hold";
  readonly mode: string;
  readonly at: Date;
}

/** As many keys as the pool asked for when it was made or asks for now: neither can be got round. */
export function requiredOf(
  { required, endedAt }: Pick<ProposalRow, "required" | "endedAt">,
  pool: Pick<PoolRow, "approval">,
): number {
  return endedAt === null ? Math.max(required, pool.approval.required) : required;
}

/** Of those who approved a proposal, whose keys count: not what was revoked before it ended. Tokens are not among the keys. */
export async function revokedAmong(
  manager: EntityManager,
  votes: readonly ProposalVoteRow[],
): Promise<ReadonlyMap<string, Date>> {
  const where = { id: In([...new Set(votes.map(({ keyId }) => keyId))]), revokedAt: Not(IsNull()) };
  const rows = await manager.find(ApiKeyRow, { where, select: { id: true, revokedAt: true } });
  return new Map(rows.map(({ id, revokedAt }) => [id, revokedAt!]));
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
  const revoked = await revokedAmong(manager, votes);
  return rows.map((row) =>
    toProposal(
      row,
      votes.filter(({ proposalId }) => proposalId === row.id),
      revoked,
      now,
    ),
  );
}

function toProposal(
  row: Named,
  votes: readonly ProposalVoteRow[],
  revoked: ReadonlyMap<string, Date>,
  now: Date,
): Proposal {
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
    required: requiredOf({ required: row.required, endedAt }, row.pool),
    votes: votes.map(({ actor, keyId, verdict, comment, at }) => ({
      actor,
      keyId,
      verdict,
      comment,
      at: at.toISOString(),
      counts: counts(revoked.get(keyId), endedAt),
    })),
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt.toISOString(),
    endedAt: endedAt?.toISOString() ?? null,
    generation: row.generation,
  };
}

function counts(revokedAt: Date | undefined, endedAt: Date | null): boolean {
  return revokedAt === undefined || (endedAt !== null && revokedAt > endedAt);
}
