import type { AuditEntry } from "@fulcrum/contracts/resources.js";
import { routes } from "@fulcrum/contracts/routes.js";
import { Controller, Inject, Query } from "@nestjs/common";
import { DataSource } from "typeorm";
import type { z } from "zod";
import { pageBefore } from "../db/page.js";
import { Handles } from "../http/handles.js";
import { AuditRow } from "./audit.row.js";

@Controller()
export class AuditController {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  @Handles(routes.listAudit)
  async list(@Query({ schema: routes.listAudit.query }) query: z.infer<typeof routes.listAudit.query>) {
    const builder = this.source.manager.createQueryBuilder(AuditRow, "row");
    if (query.action) builder.andWhere("row.action = :action", { action: query.action });
    if (query.subject) builder.andWhere("row.subject = :subject", { subject: query.subject });
    if (query.actor) builder.andWhere("row.actor = :actor", { actor: query.actor });
    return pageBefore(
      builder,
      { key: "seq", kind: "number", limit: query.limit, cursor: query.cursor },
      toEntry,
    );
  }
}

function toEntry(row: AuditRow): AuditEntry {
  return { ...row, at: row.at.toISOString() };
}
