import { routes } from "@fulcrum/contracts/routes.js";
import { Controller, Inject, Query } from "@nestjs/common";
import type { z } from "zod";
import { Handles } from "../http/handles.js";
import { AuditRead } from "./audit.read.js";

@Controller()
export class AuditController {
  constructor(@Inject(AuditRead) private readonly audit: AuditRead) {}

  @Handles(routes.listAudit)
  list(@Query({ schema: routes.listAudit.query }) query: z.infer<typeof routes.listAudit.query>) {
    return this.audit.list(query);
  }

  @Handles(routes.getAuditCheckpoint)
  checkpoint() {
    return this.audit.checkpoint();
  }
}
