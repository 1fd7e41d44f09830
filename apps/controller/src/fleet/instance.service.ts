import { Inject, Injectable } from "@nestjs/common";
import { DataSource, type EntityManager, IsNull } from "typeorm";
import { type Actor, appendAudit } from "../audit/append-audit.js";
import { forgetSignals } from "../budgets/fold.js";
import { ProblemError } from "../http/problem-error.js";
import { InstanceRow } from "./fleet.rows.js";

/** What an operator does to one instance. */
@Injectable()
export class InstanceService {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  /** Forgets the instance. Its engine keeps its split; its decisions stay. */
  async delete(name: string, actor: Actor): Promise<void> {
    await this.source.transaction(async (manager) => {
      const row = await lockByName(manager, name);
      const now = new Date();
      await forgetSignals(manager, row.id, now.getTime());
      await manager.query("DELETE FROM instance_ranks WHERE instance_id = $1", [row.id]);
      await manager.query(
        `UPDATE reconfigurations SET state = 'superseded', ended_at = $2, failure = 'the instance was deleted'
         WHERE instance_id = $1 AND ended_at IS NULL`,
        [row.id, now],
      );
      await manager.query(
        `UPDATE holds SET ended_at = $2, ended_by = $3, end_reason = 'the instance was deleted'
         WHERE instance_id = $1 AND ended_at IS NULL`,
        [row.id, now, actor.name],
      );
      await manager.update(InstanceRow, { id: row.id }, { deletedAt: now });
      await appendAudit(manager, actor, {
        action: "instance.delete",
        subject: `instance/${name}`,
        before: { generation: row.generation, allocation: row.allocation },
        after: null,
      });
    });
  }
}

async function lockByName(manager: EntityManager, name: string): Promise<InstanceRow> {
  const row = await manager.findOne(InstanceRow, {
    where: { name, deletedAt: IsNull() },
    lock: { mode: "pessimistic_write" },
  });
  if (!row) throw new ProblemError("not_found", `There is no instance ${name}.`);
  return row;
}
