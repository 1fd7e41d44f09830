import {
  type FreezeWindowInput,
  type Hold,
  type HoldKind,
  MAX_ACTIVE_HOLDS,
  MAX_FREEZE_WINDOWS,
  type PauseInput,
  type PinInput,
} from "@fulcrum/contracts/holds.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager, In, IsNull } from "typeorm";
import { type Actor, appendAudit, type AuditRecord } from "../audit/append-audit.js";
import { lockHolds } from "../db/holds-lock.js";
import { uuidV7 } from "../db/uuid-v7.js";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { ProblemError } from "../http/problem-error.js";
import { PoolRow } from "../pools/pool.rows.js";
import { checkSchedule } from "./freeze-window.js";
import { HoldRow } from "./hold.row.js";
import { type HoldQuery, listHolds, RAN_OUT, readHold, subjectOf, toHold } from "./hold-read.js";

/** The kinds that keep an instance at its allocation. */
const PINS: readonly HoldKind[] = ["pin", "override"];

/** What a hold is about; neither: the fleet. */
export interface Target {
  readonly pool: PoolRow | null;
  readonly instance: InstanceRow | null;
}

export type NewHold = Pick<HoldRow, "kind" | "reason"> &
  Partial<Pick<HoldRow, "allocation" | "generation" | "schedule">> & { readonly ttlMs: number | null };

/** Makes holds and ends them. Needs Postgres and nothing else: it works while queue, Redis and agents are down. */
@Injectable()
export class HoldService {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  list(query: HoldQuery) {
    return listHolds(this.source.manager, query, Date.now());
  }

  async pause({ pool, instance, ...input }: PauseInput, actor: Actor): Promise<Hold> {
    return this.source.transaction(async (manager) => {
      await lockHolds(manager);
      const target = await targetOf(manager, { pool, instance });
      return this.makeAlone(manager, target, { kind: "pause", ...input }, "pause.create", actor);
    });
  }

  async freezeWindow({ pool, reason, ...schedule }: FreezeWindowInput, actor: Actor): Promise<Hold> {
    checkSchedule(schedule);
    return this.source.transaction(async (manager) => {
      await lockHolds(manager);
      const target = await targetOf(manager, { pool });
      const input = { kind: "freeze_window", reason, schedule, ttlMs: null } as const;
      return this.makeAlone(manager, target, input, "freeze_window.create", actor);
    });
  }

  /** A pin takes the place of the one before. */
  async pin(name: string, input: PinInput, actor: Actor): Promise<void> {
    await this.source.transaction(async (manager) => {
      await lockHolds(manager);
      const target = await targetOf(manager, { instance: name });
      const [before] = await endHeld(manager, target.instance!, ["pin"], actor, "pinned anew");
      const row = await makeHold(manager, target, { kind: "pin", ...input }, actor);
      await appendAudit(manager, actor, {
        action: "instance.pin",
        subject: `instance/${name}`,
        before: { pinned: before !== undefined, pinnedUntil: before?.until ?? null },
        after: { pinned: true, pinnedUntil: row.until, reason: row.reason, hold: row.id },
      });
    });
  }

  /** Ends pins and overrides of the instance, so that the policy moves it again. */
  async unpin(name: string, actor: Actor): Promise<void> {
    await this.source.transaction(async (manager) => {
      await lockHolds(manager);
      const { instance } = await targetOf(manager, { instance: name });
      const ended = await endHeld(manager, instance!, PINS, actor, "unpinned");
      if (ended.length === 0) return;
      await appendAudit(manager, actor, {
        action: "instance.unpin",
        subject: `instance/${name}`,
        before: { pinned: true, pinnedUntil: ended[0]!.until, holds: ended.map(({ id }) => id) },
        after: { pinned: false },
      });
    });
  }

  /** Ends one hold of any kind. One that has ended is told so. */
  async end(id: string, reason: string, actor: Actor): Promise<Hold> {
    return this.source.transaction(async (manager) => {
      await lockHolds(manager);
      const before = await readHold(manager, id);
      const held = toHold(before, Date.now());
      if (!held.active) throw over(held);
      const ending = { endedAt: new Date(), endedBy: actor.name, endReason: reason };
      const { affected } = await manager.update(HoldRow, { id, endedAt: IsNull() }, ending);
      // The controller has ended it meanwhile, as one that was not reached.
      if (affected === 0) throw over(toHold(await readHold(manager, id), Date.now()));
      const after = toHold({ ...before, ...ending }, Date.now());
      const subject = subjectOf(held.pool, held.instance);
      await appendAudit(manager, actor, { action: "hold.end", subject, before: held, after });
      return after;
    });
  }

  /** Writes down the end of holds whose time has run out: what is in force stays a short list. */
  async settle(now = new Date()): Promise<void> {
    await this.source.query(
      "UPDATE holds SET ended_at = until, end_reason = $2 WHERE ended_at IS NULL AND until <= $1",
      [now, RAN_OUT],
    );
  }

  private async makeAlone(
    manager: EntityManager,
    target: Target,
    input: NewHold,
    action: string,
    actor: Actor,
  ): Promise<Hold> {
    const row = await makeHold(manager, target, input, actor);
    const after = toHold({ ...row, ...target }, Date.now());
    await appendAudit(manager, actor, recordOf(action, after));
    return after;
  }
}

/** Adds a hold, in a transaction that has lockHolds. @throws ProblemError when there are too many */
export async function makeHold(
  manager: EntityManager,
  { pool, instance }: Target,
  { ttlMs, ...input }: NewHold,
  actor: Actor,
): Promise<HoldRow> {
  const now = new Date();
  await mustHaveRoom(manager, input.kind, now);
  const row: HoldRow = {
    allocation: null,
    generation: null,
    schedule: null,
    ...input,
    id: uuidV7(),
    poolId: instance?.poolId ?? pool?.id ?? null,
    instanceId: instance?.id ?? null,
    actor: actor.name,
    startsAt: now,
    until: ttlMs === null ? null : new Date(now.getTime() + ttlMs),
    endedAt: null,
    endedBy: null,
    endReason: null,
  };
  await manager.insert(HoldRow, row);
  return row;
}

/** Ends the instance's holds of these kinds that are in force; answers with them as they were. */
export async function endHeld(
  manager: EntityManager,
  instance: InstanceRow,
  kinds: readonly HoldKind[],
  actor: Actor,
  endReason: string,
): Promise<HoldRow[]> {
  const now = new Date();
  const where = { instanceId: instance.id, kind: In(kinds), endedAt: IsNull() };
  const rows = await manager.find(HoldRow, { where, order: { id: "ASC" } });
  const held = rows.filter(({ until }) => until === null || until > now);
  const ending = { endedAt: now, endedBy: actor.name, endReason };
  if (held.length > 0) await manager.update(HoldRow, { id: In(held.map(({ id }) => id)) }, ending);
  return held;
}

/** Finds and locks what a hold is to be about. @throws ProblemError not_found */
export async function targetOf(
  manager: EntityManager,
  { pool, instance }: { pool?: string | undefined; instance?: string | undefined },
): Promise<Target> {
  if (instance !== undefined) {
    const row = await manager.findOne(InstanceRow, {
      where: { name: instance, deletedAt: IsNull() },
      lock: { mode: "pessimistic_write" },
    });
    if (!row) throw new ProblemError("not_found", `There is no instance ${instance}.`);
    return { pool: await manager.findOneByOrFail(PoolRow, { id: row.poolId }), instance: row };
  }
  if (pool === undefined) return { pool: null, instance: null };
  const row = await manager.findOne(PoolRow, {
    where: { name: pool, deletedAt: IsNull() },
    lock: { mode: "for_no_key_update" },
  });
  if (!row) throw new ProblemError("not_found", `There is no pool ${pool}.`);
  return { pool: row, instance: null };
}

export function recordOf(action: string, after: Hold): AuditRecord {
  return { action, subject: subjectOf(after.pool, after.instance), before: null, after };
}

async function mustHaveRoom(manager: EntityManager, kind: HoldKind, now: Date): Promise<void> {
  const [active] = await manager.query<{ all: number; windows: number }[]>(
    `SELECT count(*)::int AS all, count(*) FILTER (WHERE kind = 'freeze_window')::int AS windows
     FROM holds WHERE ended_at IS NULL AND (until IS NULL OR until > $1)`,
    [now],
  );
  const { all, windows } = active!;
  if (all >= MAX_ACTIVE_HOLDS)
    throw new ProblemError(
      "conflict",
      `${all} holds are in force already, which is the most: end some first.`,
    );
  if (kind === "freeze_window" && windows >= MAX_FREEZE_WINDOWS)
    throw new ProblemError(
      "conflict",
      `There are ${windows} freeze windows already, which is the most: end some first.`,
    );
}

function over({ id, endedAt, endedBy, endReason }: Hold): ProblemError {
  const by = endedBy === null ? "" : ` by ${endedBy}`;
  const why = endReason === null ? "" : `: ${endReason}`;
  return new ProblemError("conflict", `Hold ${id} ended at ${endedAt}${by}${why}.`);
}
