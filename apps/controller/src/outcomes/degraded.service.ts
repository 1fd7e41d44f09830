import { Inject, Injectable } from "@nestjs/common";
import { DataSource, IsNull } from "typeorm";
import { type Actor, appendAudit } from "../audit/append-audit.js";
import { InstanceRow } from "../fleet/fleet.rows.js";
import { ProblemError } from "../http/problem-error.js";

/** A person has looked: the instance is decided on again. */
@Injectable()
export class DegradedService {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  /** Does nothing to an instance that is not degraded. @throws ProblemError not_found */
  async clear(name: string, reason: string, actor: Actor): Promise<void> {
    await this.source.transaction(async (manager) => {
      const row = await manager.findOne(InstanceRow, {
        where: { name, deletedAt: IsNull() },
        lock: { mode: "pessimistic_write" },
      });
      if (!row) throw new ProblemError("not_found", `There is no instance ${name}.`);
      if (!row.degraded) return;
      const changed = { degraded: false, degradedCause: null, degradedClearedAt: new Date() };
      await manager.update(InstanceRow, { id: row.id }, changed);
      await appendAudit(manager, actor, {
        action: "instance.clear_degraded",
        subject: `instance/${name}`,
        before: { degraded: true, cause: row.degradedCause },
        after: { degraded: false, reason },
      });
    });
  }
}
