import type {
  Assignment,
  Registration,
  RegistrationAnswer,
  Rejection,
} from "@fulcrum/contracts/agent-api.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager, IsNull } from "typeorm";
import { toAssignment } from "../assignments/assignment.service.js";
import { type Actor, appendAudit } from "../audit/append-audit.js";
import { CONFIG, type Config } from "../config.js";
import { limitsFault } from "@fulcrum/core/guard/input-fault.js";
import { bucketAdvice } from "@fulcrum/core/signal/bucket-advice.js";
import { describeFault } from "@fulcrum/core/signal/fault.js";
import { emptyHistogram } from "@fulcrum/core/signal/histogram.js";
import { audited, openReconfigurations } from "../reconfigurations/open-reconfiguration.js";
import { uuidV7 } from "../db/uuid-v7.js";
import { PoolRow, SloVersionRow } from "../pools/pool.rows.js";
import { AgentRow, canaryHash, InstanceRow } from "../fleet/fleet.rows.js";

type InstanceEntry = Registration["instances"][number];

/** A rank whose agent was seen within this long belongs to that agent; after that another may take it over. */
const RANK_LEASE_MS = 60_000;

/** Agents say who they are and what they look after. Registering again is normal and changes nothing. */
@Injectable()
export class RegistrationService {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  async register(registration: Registration, actor: Actor): Promise<RegistrationAnswer> {
    const clockSkewMs = Date.now() - registration.sentAtMs;
    const answer: RegistrationAnswer = { instances: [], rejected: [], clockSkewMs };
    const agent = await this.source.transaction((manager) =>
      upsertAgent(manager, registration, clockSkewMs, actor),
    );
    for (const entry of registration.instances) {
      // One transaction each: a refused instance does not cost the others their registration.
      const outcome = await this.source.transaction((manager) =>
        registerInstance(manager, agent, entry, actor, this.config.rollout.offerTimeoutMs),
      );
      if ("code" in outcome) answer.rejected.push(outcome);
      else answer.instances.push(outcome);
    }
    return answer;
  }
}

async function upsertAgent(
  manager: EntityManager,
  registration: Registration,
  clockSkewMs: number,
  actor: Actor,
): Promise<AgentRow> {
  const now = new Date();
  const seen = {
    node: registration.node,
    agentVersion: registration.agentVersion,
    lastSeenAt: now,
    clockSkewMs,
  };
  const existing = await manager.findOneBy(AgentRow, { name: registration.agent });
  if (existing) {
    await manager.update(AgentRow, { id: existing.id }, seen);
    return { ...existing, ...seen };
  }
  const row: AgentRow = { id: uuidV7(), name: registration.agent, ...seen, createdAt: now };
  // Two registrations of a new agent at once: the second finds the first's row.
  const inserted = await manager
    .createQueryBuilder()
    .insert()
    .into(AgentRow)
    .values(row)
    .orIgnore()
    .returning("id")
    .execute();
  if ((inserted.raw as unknown[]).length === 0)
    return manager.findOneByOrFail(AgentRow, { name: registration.agent });
  await appendAudit(manager, actor, {
    action: "agent.register",
    subject: `agent/${row.name}`,
    before: null,
    after: { node: row.node, agentVersion: row.agentVersion },
  });
  return row;
}

async function registerInstance(
  manager: EntityManager,
  agent: AgentRow,
  entry: InstanceEntry,
  actor: Actor,
  offerTimeoutMs: number,
): Promise<RegistrationAnswer["instances"][number] | Rejection> {
  // Shared lock: a pool that is being deleted either takes the new instance with it or is gone.
  const pool = await manager.findOne(PoolRow, {
    where: { name: entry.pool, deletedAt: IsNull() },
    lock: { mode: "pessimistic_read" },
  });
  if (!pool) return reject(entry, "unknown_pool", "pool", `There is no pool ${entry.pool}; create it first.`);
  // Serialises the first registrations of one instance by several agents.
  await manager.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [
    `instance/${entry.instance}`,
  ]);
  const existing = await manager.findOneBy(InstanceRow, { name: entry.instance, deletedAt: IsNull() });
  if (existing && existing.poolId !== pool.id) {
    return reject(entry, "wrong_pool", "pool", `Instance ${entry.instance} belongs to another pool.`);
  }
  if (existing && existing.rankCount !== entry.rankCount) {
    return reject(
      entry,
      "wrong_rank_count",
      "rankCount",
      `Instance ${entry.instance} has ${existing.rankCount} ranks, got ${entry.rankCount}.`,
    );
  }
  const outOfRange = entry.ranks.find((rank) => rank >= entry.rankCount);
  if (outOfRange !== undefined) {
    return reject(
      entry,
      "rank_out_of_range",
      "ranks",
      `Rank ${outOfRange} must be below rankCount ${entry.rankCount}.`,
    );
  }
  const fault = limitsFault(entry.capabilities.limits);
  if (fault) return reject(entry, "invalid_limits", `capabilities.${fault.field}`, describeFault(fault));
  const taken = existing && (await rankHeldByAnother(manager, existing, agent, entry.ranks));
  if (taken) {
    const detail = `Rank ${taken.rank} is looked after by agent ${taken.agent}.`;
    return reject(entry, "rank_taken", "ranks", detail);
  }
  // From here on nothing is refused: what is written stays.
  const found = existing ?? (await createInstance(manager, pool, entry, actor));
  if (existing) await manager.update(InstanceRow, { id: existing.id }, { capabilities: entry.capabilities });
  await claimRanks(manager, found, agent, entry);
  const instance =
    entry.generation > found.generation ? await adopt(manager, found, entry, actor, offerTimeoutMs) : found;
  const [signal] = await manager.query<{ last_seq: string }[]>(
    "SELECT last_seq FROM instance_signals WHERE instance_id = $1",
    [instance.id],
  );
  return {
    instance: instance.name,
    lastSeq: Number(signal?.last_seq ?? 0),
    assignment: assignmentOf(instance, entry),
    ...(entry.buckets && { warnings: await bucketWarnings(manager, pool, entry) }),
  };
}

/** What to set so that the SLO in force lies on bucket bounds of the engine; nothing was measured yet. */
async function bucketWarnings(
  manager: EntityManager,
  pool: PoolRow,
  entry: InstanceEntry,
): Promise<string[]> {
  const { slo } = await manager.findOneByOrFail(SloVersionRow, { poolId: pool.id, version: pool.sloVersion });
  const { ttftMs = null, tpotMs = null } = entry.buckets ?? {};
  const seen = { ttft: ttftMs && emptyHistogram(ttftMs), tpot: tpotMs && emptyHistogram(tpotMs) };
  return bucketAdvice(slo, seen, entry.capabilities.engine ?? null).map(({ message }) => message);
}

async function createInstance(
  manager: EntityManager,
  pool: PoolRow,
  entry: InstanceEntry,
  actor: Actor,
): Promise<InstanceRow> {
  const now = new Date();
  const id = uuidV7();
  const row: InstanceRow = {
    id,
    poolId: pool.id,
    name: entry.instance,
    rankCount: entry.rankCount,
    capabilities: entry.capabilities,
    generation: 0,
    attempt: 1,
    allocation: entry.running,
    issuedAt: now,
    issueReason: "FIRST_SEEN",
    gate: null,
    lastGood: { ...entry.running, generation: 0 },
    changedAt: null,
    degraded: false,
    degradedCause: null,
    degradedClearedAt: null,
    canaryHash: canaryHash(id),
    createdAt: now,
    deletedAt: null,
  };
  await manager.insert(InstanceRow, row);
  await manager.query(
    "INSERT INTO instance_signals (instance_id, last_seq, conditions) VALUES ($1, 0, '{}')",
    [row.id],
  );
  await appendAudit(manager, actor, {
    action: "instance.register",
    subject: `instance/${row.name}`,
    before: null,
    after: { pool: pool.name, running: entry.running },
  });
  return row;
}

/**
 * The agent has seen higher generations than the database holds: the instance was deleted and comes back, or
 * the database was restored. What runs is taken as the last good allocation and offered once more as a
 * generation above all that the agent has seen, since it refuses lower ones.
 */
async function adopt(
  manager: EntityManager,
  instance: InstanceRow,
  entry: InstanceEntry,
  actor: Actor,
  offerTimeoutMs: number,
): Promise<InstanceRow> {
  const from = { ...entry.running, generation: entry.generation };
  await manager.update(
    InstanceRow,
    { id: instance.id },
    { generation: entry.generation, allocation: entry.running, lastGood: from },
  );
  const change = {
    poolId: instance.poolId,
    instanceId: instance.id,
    decisionId: null,
    kind: "adoption",
    reason: "ADOPTED",
    from,
    to: entry.running,
  } as const;
  await openReconfigurations(manager, [change], offerTimeoutMs);
  await appendAudit(manager, actor, {
    action: "instance.adopt",
    subject: `instance/${instance.name}`,
    before: audited({ ...instance.allocation, generation: instance.generation }),
    after: audited({ ...entry.running, generation: entry.generation + 1 }),
  });
  return manager.findOneByOrFail(InstanceRow, { id: instance.id });
}

/** The first of the ranks that another live agent holds. */
async function rankHeldByAnother(
  manager: EntityManager,
  instance: InstanceRow,
  agent: AgentRow,
  ranks: readonly number[],
) {
  const held = await manager.query<{ rank: number; agent: string }[]>(
    `SELECT r.rank, a.name AS agent FROM instance_ranks r JOIN agents a ON a.id = r.agent_id
     WHERE r.instance_id = $1 AND r.rank = ANY($2) AND r.agent_id <> $3 AND a.last_seen_at > $4 ORDER BY r.rank`,
    [instance.id, ranks, agent.id, new Date(Date.now() - RANK_LEASE_MS)],
  );
  return held[0] ?? null;
}

async function claimRanks(
  manager: EntityManager,
  instance: InstanceRow,
  agent: AgentRow,
  { ranks, barrier = false }: InstanceEntry,
): Promise<void> {
  await manager.query(
    `INSERT INTO instance_ranks (instance_id, rank, agent_id, generation, attempt, updated_at, barrier)
     SELECT $1, rank, $3, $4, $5, $6, $7 FROM unnest($2::int[]) AS rank
     ON CONFLICT (instance_id, rank) DO UPDATE
       SET agent_id = EXCLUDED.agent_id, updated_at = EXCLUDED.updated_at, barrier = EXCLUDED.barrier`,
    [instance.id, ranks, agent.id, instance.generation, instance.attempt, new Date(), barrier],
  );
}

function reject(entry: InstanceEntry, code: string, field: string, detail: string): Rejection {
  return { instance: entry.instance, code, field, detail };
}

function assignmentOf(row: InstanceRow, { barrier }: InstanceEntry): Assignment {
  const gate = barrier ? row.gate : null;
  return toAssignment({ ...row, gate, issue_reason: row.issueReason, issued_at: row.issuedAt });
}
