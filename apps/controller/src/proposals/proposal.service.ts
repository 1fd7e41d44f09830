import type { Proposal, ProposalState } from "@fulcrum/contracts/proposals.js";
import { describeAllocation, splitWithin } from "@fulcrum/core/allocation.js";
import { holdGate } from "@fulcrum/core/guard/gates.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager } from "typeorm";
import { AssignmentService } from "../assignments/assignment.service.js";
import { type Actor, appendAudit, CONTROLLER } from "../audit/append-audit.js";
import { CONFIG, type Config } from "../config.js";
import { shareHolds } from "../db/holds-lock.js";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { ProblemError } from "../http/problem-error.js";
import { standingOf } from "../holds/standing.js";
import { narrowLimits } from "../pools/pool-settings.js";
import { PoolRow } from "../pools/pool.rows.js";
import { audited, openReconfigurations } from "../reconfigurations/open-reconfiguration.js";
import { ReconfigurationQueue } from "../reconfigurations/reconfiguration.queue.js";
import { agentsOf } from "../reconfigurations/reconfiguration.service.js";
import { endedRecord } from "./open-proposal.js";
import { ProposalRow, ProposalVoteRow } from "./proposal.rows.js";
import { readProposal, requiredOf, revokedAmong } from "./proposal.read.js";

/** Proposals that one look settles. */
const MAX_SETTLED = 500;

/** What a vote comes to. A refusal that ends the proposal must commit, so it is an outcome and not a throw. */
interface Outcome {
  readonly refused?: ProblemError;
  readonly watch?: number;
  readonly wake?: readonly string[];
}

interface Standing {
  readonly row: ProposalRow;
  readonly instance: InstanceRow;
  readonly pool: PoolRow;
}

/** People's word on proposals, and the end of those that nobody spoke on. */
@Injectable()
export class ProposalService {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(AssignmentService) private readonly assignments: AssignmentService,
    @Inject(ReconfigurationQueue) private readonly queue: ReconfigurationQueue,
  ) {}

  /** Counts a key once, however often it approves; with as many keys as are required the move is made at once. */
  async approve(id: string, comment: string | null, actor: Actor): Promise<Proposal> {
    return this.vote(id, { verdict: "approve", actor }, async (manager, standing) => {
      const held = await heldBy(manager, standing);
      if (held) return { refused: held };
      await addVote(manager, id, "approve", comment, actor);
      const { votes, notCounted } = await countedVotes(manager, id);
      if (notCounted.some(({ keyId }) => keyId === actor.keyId)) throw revokedNow();
      const { instance, row, pool } = standing;
      const required = requiredOf(row, pool);
      const approved = {
        action: "proposal.approve",
        subject: `instance/${instance.name}`,
        before: { proposal: id, state: "open" },
        after: {
          proposal: id,
          approvals: votes.length,
          required,
          comment,
          ...(notCounted.length > 0 ? { notCounted: notCounted.map((vote) => vote.actor) } : {}),
        },
      };
      if (votes.length < required) {
        await appendAudit(manager, actor, approved);
        return {};
      }
      const rollout = await this.apply(manager, standing);
      const applied = {
        action: "proposal.applied",
        subject: `instance/${instance.name}`,
        before: audited(row.fromAllocation),
        after: {
          ...audited({ ...row.toAllocation, generation: rollout.generation }),
          proposal: id,
          decision: row.decisionId,
          reconfiguration: rollout.id,
          approvedBy: votes.map((vote) => vote.actor),
        },
      };
      const wake = await agentsOf(manager, instance.id);
      await appendAudit(manager, actor, approved, applied);
      return { watch: rollout.deadlineAt.getTime(), wake };
    });
  }

  /** One key is enough to end it. */
  async reject(id: string, reason: string, actor: Actor): Promise<Proposal> {
    return this.vote(id, { verdict: "reject", actor }, async (manager, { row, instance }) => {
      await addVote(manager, id, "reject", reason, actor);
      await manager.update(ProposalRow, { id }, { state: "rejected", endedAt: new Date() });
      await appendAudit(manager, actor, {
        action: "proposal.reject",
        subject: `instance/${instance.name}`,
        before: { proposal: id, state: row.state, allocation: row.toAllocation },
        after: { proposal: id, state: "rejected", reason },
      });
      return {};
    });
  }

  /** Ends what has expired or what the world has left behind; no timer per proposal, the sweep looks. */
  async settle(now = new Date()): Promise<void> {
    await this.source.transaction(async (manager) => {
      const [rows] = await manager.query<[{ id: string; instance: string; state: string }[], number]>(
        `WITH due AS (
           SELECT q.id FROM proposals q JOIN instances i ON i.id = q.instance_id JOIN pools p ON p.id = q.pool_id
           WHERE q.ended_at IS NULL
             AND (q.expires_at <= $1 OR i.generation <> q.based_on_generation OR i.deleted_at IS NOT NULL
                  OR p.mode <> 'recommend')
           ORDER BY q.id LIMIT ${MAX_SETTLED} FOR UPDATE OF q SKIP LOCKED)
         UPDATE proposals q
         SET ended_at = $1, state = CASE WHEN q.expires_at <= $1 THEN 'expired' ELSE 'outdated' END
         FROM due, instances i WHERE q.id = due.id AND i.id = q.instance_id
         RETURNING q.id, i.name AS instance, q.state`,
        [now],
      );
      await appendAudit(manager, CONTROLLER, ...rows.map(endedRecord));
    });
  }

  private async vote(
    id: string,
    { verdict, actor }: { readonly verdict: ProposalVoteRow["verdict"]; readonly actor: Actor },
    cast: (manager: EntityManager, standing: Standing) => Promise<Outcome>,
  ): Promise<Proposal> {
    const { refused, watch, wake } = await this.source.transaction(async (manager): Promise<Outcome> => {
      // In the order in which decisions lock: holds, instance, proposal.
      await shareHolds(manager);
      const { instanceId, poolId } = await mustFind(manager, id);
      const instance = await manager.findOneOrFail(InstanceRow, {
        where: { id: instanceId },
        lock: { mode: "pessimistic_write" },
      });
      const row = await manager.findOneOrFail(ProposalRow, {
        where: { id },
        lock: { mode: "pessimistic_write" },
      });
      const pool = await manager.findOneByOrFail(PoolRow, { id: poolId });
      if (row.endedAt) {
        // Asked again after an answer that was lost: what it asked for is so.
        const said = await manager.existsBy(ProposalVoteRow, {
          proposalId: id,
          keyId: actor.keyId!,
          verdict,
        });
        const so = row.state === (verdict === "approve" ? "approved" : "rejected");
        return said && so ? {} : { refused: await closed(manager, row.state, row, instance) };
      }
      const standing = { row, instance, pool };
      const over = overBecause(standing, new Date());
      if (!over) return cast(manager, standing);
      await manager.update(ProposalRow, { id }, { state: over.state, endedAt: new Date() });
      const refused = await closed(manager, over.state, row, instance, over.why);
      await appendAudit(manager, CONTROLLER, endedRecord({ id, instance: instance.name, state: over.state }));
      return { refused };
    });
    if (refused) throw refused;
    if (watch !== undefined) this.queue.watch([watch]);
    await this.assignments.announce(wake ?? []);
    return readProposal(this.source.manager, id);
  }

  private async apply(manager: EntityManager, { row, instance, pool }: Standing) {
    const required = requiredOf(row, pool);
    const change = {
      poolId: row.poolId,
      instanceId: row.instanceId,
      decisionId: row.decisionId,
      kind: "decision" as const,
      reason: row.reason,
      from: { ...instance.allocation, generation: instance.generation },
      to: row.toAllocation,
    };
    const opened = await openReconfigurations(manager, [change], this.config.rollout.offerTimeoutMs);
    // The instance's row is locked and its generation compared, so nobody was first.
    const rollout = opened.get(row.instanceId)!;
    const { generation } = rollout;
    await manager.update(
      ProposalRow,
      { id: row.id },
      { state: "approved", endedAt: rollout.createdAt, generation, required },
    );
    return rollout;
  }
}

/** The keys that stand behind a proposal, and those that did and were revoked since. */
async function countedVotes(manager: EntityManager, proposalId: string) {
  const all = await manager.find(ProposalVoteRow, {
    where: { proposalId, verdict: "approve" },
    order: { at: "ASC" },
  });
  const revoked = await revokedAmong(manager, all);
  return {
    votes: all.filter(({ keyId }) => !revoked.has(keyId)),
    notCounted: all.filter(({ keyId }) => revoked.has(keyId)),
  };
}

/** A replica goes on taking a key for some seconds after it was revoked on another. */
function revokedNow(): ProblemError {
  return new ProblemError("unauthenticated", "The API key was revoked.");
}

async function mustFind(manager: EntityManager, id: string): Promise<ProposalRow> {
  const row = await manager.findOneBy(ProposalRow, { id });
  if (!row) throw new ProblemError("not_found", `There is no proposal ${id}.`);
  return row;
}

async function addVote(
  manager: EntityManager,
  proposalId: string,
  verdict: ProposalVoteRow["verdict"],
  comment: string | null,
  { name: actor, keyId }: Actor,
): Promise<void> {
  const vote = { proposalId, keyId: keyId!, verdict, actor, comment, at: new Date() };
  await manager.createQueryBuilder().insert().into(ProposalVoteRow).values(vote).orIgnore().execute();
}

/** Why a proposal may not be approved or rejected any more; null: it may. */
function overBecause(
  { row, instance, pool }: Standing,
  now: Date,
): { state: ProposalState; why: string } | null {
  if (row.expiresAt <= now) return { state: "expired", why: `it expired at ${row.expiresAt.toISOString()}` };
  if (instance.deletedAt) return { state: "outdated", why: `instance ${instance.name} was deleted` };
  if (instance.generation !== row.basedOnGeneration) {
    const why = `it was made on generation ${row.basedOnGeneration}`;
    return { state: "outdated", why };
  }
  if (pool.mode !== "recommend")
    return { state: "outdated", why: `pool ${pool.name} is in mode ${pool.mode} now` };
  const limits = narrowLimits(instance.capabilities.limits, pool.limits);
  const { split, kvQuotaPct } = row.toAllocation;
  const within =
    splitWithin(split, limits) && kvQuotaPct >= limits.minKvQuotaPct && kvQuotaPct <= limits.maxKvQuotaPct;
  return within ? null : { state: "outdated", why: "the limits have changed since, and it lies outside" };
}

/** The refusal, with what is true now in place of the proposal. */
async function closed(
  manager: EntityManager,
  state: ProposalState,
  row: ProposalRow,
  instance: InstanceRow,
  why?: string,
): Promise<ProblemError> {
  const newer = await manager.findOneBy(ProposalRow, { instanceId: instance.id, state: "open" });
  const made = row.generation === null ? "" : `, which made generation ${row.generation}`;
  const said = `Proposal ${row.id} is ${state}${made}${why ? `: ${why}` : ""}.`;
  const is = `${instance.name} is at generation ${instance.generation} now: ${describeAllocation(instance.allocation)}.`;
  const open = newer && newer.id !== row.id ? ` Open instead is proposal ${newer.id}: ${newer.message}` : "";
  return new ProblemError("conflict", `${said} ${is}${open}`, [
    { field: "state", message: state },
    {
      field: "generation",
      message: `is ${instance.generation}, the proposal's was ${row.basedOnGeneration}`,
    },
  ]);
}

/** A pause stops approvals too: whoever paused meant everything. */
async function heldBy(manager: EntityManager, { instance }: Standing): Promise<ProblemError | null> {
  const nowMs = Date.now();
  const hold = (await standingOf(manager, [instance.id], nowMs)).get(instance.id);
  if (!hold) return null;
  const gate = holdGate(hold, nowMs);
  return gate && new ProblemError("conflict", `Nothing is moved now. ${gate.message}`);
}
