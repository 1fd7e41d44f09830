import { type DynamicModule, Module } from "@nestjs/common";
import type { Logger } from "pino";
import type { DataSource } from "typeorm";
import { AccessModule } from "./access/access.module.js";
import { AlertsModule } from "./alerts/alerts.module.js";
import { AssignmentsModule } from "./assignments/assignments.module.js";
import { AuditModule } from "./audit/audit.module.js";
import { BudgetsModule } from "./budgets/budgets.module.js";
import { CanaryModule } from "./canary/canary.module.js";
import { CapacityModule } from "./capacity/capacity.module.js";
import type { Config } from "./config.js";
import { DecisionsModule } from "./decisions/decisions.module.js";
import { FleetModule } from "./fleet/fleet.module.js";
import { HoldsModule } from "./holds/holds.module.js";
import { IngestModule } from "./ingest/ingest.module.js";
import { BaseModule } from "./obs/base.module.js";
import { HealthController } from "./obs/health.controller.js";
import { OutcomesModule } from "./outcomes/outcomes.module.js";
import { LiveModule } from "./live/live.module.js";
import { PreviewModule } from "./preview/preview.module.js";
import { PoolsModule } from "./pools/pools.module.js";
import { ProposalsModule } from "./proposals/proposals.module.js";
import { ReconfigurationsModule } from "./reconfigurations/reconfigurations.module.js";
import { WebhooksModule } from "./webhooks/webhooks.module.js";

/** The house of the controller; the arrows between the capabilities run as a window does. */
@Module({})
export class AppModule {
  static with(config: Config, logger: Logger, source: DataSource): DynamicModule {
    return {
      module: AppModule,
      imports: [
        BaseModule.with(config, logger, source),
        AccessModule,
        AuditModule,
        PoolsModule,
        FleetModule,
        AssignmentsModule,
        ReconfigurationsModule,
        HoldsModule,
        ProposalsModule,
        CanaryModule,
        OutcomesModule,
        DecisionsModule,
        IngestModule,
        LiveModule,
        PreviewModule,
        BudgetsModule,
        AlertsModule,
        // After all that may say something: what a sweep brings about is sent with the same sweep.
        WebhooksModule,
        CapacityModule,
      ],
      controllers: [HealthController],
    };
  }
}
