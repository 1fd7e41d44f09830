/** What is known of the instances that acknowledgements speak of: read under lock once, written back once. */
import type { Ack, IterationProgress, RankStep } from "@fulcrum/contracts/agent-api.js";
import { type EntityManager, In, IsNull } from "typeorm";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { ReconfigurationRow } from "./reconfiguration.rows.js";

export interface RankState {
  readonly rank: number;
  readonly agent: string;
  step: RankStep | null;
  /** As told when it was ready last, and when, in the controller's time. */
  iterations: (IterationProgress & { readonly atMs: number }) | null;
  /** When it was offered, or last told something new. */
  heardAt: Date;
}

/** An acknowledgement that told something new of a rank, and what is known of the rank now. */
export interface Said {
  readonly instance: InstanceRow;
  readonly ack: Ack;
  readonly iterations: RankState["iterations"];
}

export interface AckState {
  readonly instance: InstanceRow;
  readonly ranks: readonly RankState[];
  /** The unfinished rollout; null when there is none. */
  open: ReconfigurationRow | null;
}

/**
 * By instance name. Locks the instances' rows in the order of their ids: commits, acknowledgements and
 * time-outs of one instance go one after the other, and nobody waits for each other in a ring.
 */
export async function loadAckStates(
  manager: EntityManager,
  names: readonly string[],
): Promise<ReadonlyMap<string, AckState>> {
  const instances = await manager
    .createQueryBuilder(InstanceRow, "row")
    .setLock("pessimistic_write")
    .where("row.name IN (:...names) AND row.deletedAt IS NULL", { names })
    .orderBy("row.id")
    .getMany();
  if (instances.length === 0) return new Map();
  const ids = instances.map((instance) => instance.id);
  const ranks = await manager.query<(RankState & { instance_id: string })[]>(
    `SELECT r.instance_id, r.rank, r.step, r.iterations, r.updated_at AS "heardAt", a.name AS agent
     FROM instance_ranks r JOIN agents a ON a.id = r.agent_id WHERE r.instance_id = ANY($1) ORDER BY r.rank`,
    [ids],
  );
  const open = await manager.findBy(ReconfigurationRow, { instanceId: In(ids), endedAt: IsNull() });
  return new Map(
    instances.map((instance) => [
      instance.name,
      {
        instance,
        ranks: ranks.filter((rank) => rank.instance_id === instance.id),
        open: open.find((row) => row.instanceId === instance.id) ?? null,
      },
    ]),
  );
}

/** What each rank said last; of several acknowledgements of one rank the later counts. */
export async function saveRanks(manager: EntityManager, said: readonly Said[], now: Date): Promise<void> {
  const latest = [...new Map(said.map((one) => [`${one.instance.id}/${one.ack.rank}`, one])).values()];
  if (latest.length === 0) return;
  await manager.query(
    `UPDATE instance_ranks r
     SET generation = t.generation, attempt = t.attempt, step = t.step, delivered = t.delivered::jsonb,
         iterations = t.iterations::jsonb, updated_at = $8
     FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::text[], $6::text[], $7::text[])
       AS t(instance_id, rank, generation, attempt, step, delivered, iterations)
     WHERE r.instance_id = t.instance_id AND r.rank = t.rank`,
    [
      latest.map(({ instance }) => instance.id),
      latest.map(({ ack }) => ack.rank),
      latest.map(({ ack }) => ack.generation),
      latest.map(({ ack }) => ack.attempt),
      latest.map(({ ack }) => ack.step),
      latest.map(({ ack }) => (ack.delivered ? JSON.stringify(ack.delivered) : null)),
      latest.map(({ iterations }) => (iterations ? JSON.stringify(iterations) : null)),
      now,
    ],
  );
}

/** Groups whose ranks may switch from now on. */
export async function saveGates(manager: EntityManager, instances: Iterable<InstanceRow>): Promise<void> {
  const opened = [...instances];
  if (opened.length === 0) return;
  await manager.query(
    `UPDATE instances i SET gate = t.gate::jsonb FROM unnest($1::uuid[], $2::text[]) AS t(id, gate) WHERE i.id = t.id`,
    [opened.map(({ id }) => id), opened.map(({ gate }) => JSON.stringify(gate))],
  );
}

/** Rollouts whose state moved on, with their new deadlines. */
export async function saveStates(manager: EntityManager, rows: Iterable<ReconfigurationRow>): Promise<void> {
  const moved = [...rows];
  if (moved.length === 0) return;
  await manager.query(
    `UPDATE reconfigurations r SET state = t.state, deadline_at = t.deadline_at
     FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS t(id, state, deadline_at) WHERE r.id = t.id`,
    [moved.map((row) => row.id), moved.map((row) => row.state), moved.map((row) => row.deadlineAt)],
  );
}
