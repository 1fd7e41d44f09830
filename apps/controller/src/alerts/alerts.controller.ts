import { routes } from "@fulcrum/contracts/routes.js";
import { Controller, Inject, Query } from "@nestjs/common";
import type { z } from "zod";
import { Handles } from "../http/handles.js";
import { AlertService } from "./alert.service.js";

@Controller()
export class AlertsController {
  constructor(@Inject(AlertService) private readonly alerts: AlertService) {}

  @Handles(routes.listAlerts)
  async list(@Query({ schema: routes.listAlerts.query }) query: z.infer<typeof routes.listAlerts.query>) {
    return this.alerts.list(query);
  }
}
