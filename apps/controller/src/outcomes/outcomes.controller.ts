import { routes } from "@fulcrum/contracts/routes.js";
import { Controller, Inject, Param, Query } from "@nestjs/common";
import type { z } from "zod";
import { type Caller, FromCaller } from "../access/caller.js";
import { FleetRead } from "../fleet/fleet.read.js";
import { Handles } from "../http/handles.js";
import { DegradedService } from "./degraded.service.js";
import { OutcomeRead } from "./outcome.read.js";

@Controller()
export class OutcomesController {
  constructor(
    @Inject(OutcomeRead) private readonly read: OutcomeRead,
    @Inject(DegradedService) private readonly degraded: DegradedService,
    @Inject(FleetRead) private readonly fleet: FleetRead,
  ) {}

  @Handles(routes.getEvidence)
  async evidence(
    @Param({ schema: routes.getEvidence.params }) params: { pool: string },
    @Query({ schema: routes.getEvidence.query }) query: z.infer<typeof routes.getEvidence.query>,
  ) {
    return this.read.evidence(params.pool, query.hours);
  }

  @Handles(routes.clearDegraded)
  async clear(
    @Param({ schema: routes.clearDegraded.params }) params: { instance: string },
    @Query({ schema: routes.clearDegraded.query }) query: z.infer<typeof routes.clearDegraded.query>,
    @FromCaller() caller: Caller,
  ) {
    await this.degraded.clear(params.instance, query.reason, caller.actor);
    return this.fleet.instance(params.instance);
  }
}
