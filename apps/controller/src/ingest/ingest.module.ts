import { Module } from "@nestjs/common";
import { AssignmentsModule } from "../assignments/assignments.module.js";
import { BudgetsModule } from "../budgets/budgets.module.js";
import { DecisionsModule } from "../decisions/decisions.module.js";
import { ReconfigurationsModule } from "../reconfigurations/reconfigurations.module.js";
import { IngestController } from "./ingest.controller.js";
import { RegistrationService } from "./registration.service.js";
import { ReportService } from "./report.service.js";
import { WindowWriter } from "./window-writer.js";

@Module({
  imports: [DecisionsModule, ReconfigurationsModule, AssignmentsModule, BudgetsModule],
  controllers: [IngestController],
  providers: [ReportService, RegistrationService, WindowWriter],
})
export class IngestModule {}
