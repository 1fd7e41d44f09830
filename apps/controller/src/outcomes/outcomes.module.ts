import { Module } from "@nestjs/common";
import { AssignmentsModule } from "../assignments/assignments.module.js";
import { CanaryModule } from "../canary/canary.module.js";
import { FleetModule } from "../fleet/fleet.module.js";
import { ReconfigurationsModule } from "../reconfigurations/reconfigurations.module.js";
import { DegradedService } from "./degraded.service.js";
import { OutcomeRead } from "./outcome.read.js";
import { OutcomeService } from "./outcome.service.js";
import { OutcomesController } from "./outcomes.controller.js";

@Module({
  imports: [CanaryModule, ReconfigurationsModule, AssignmentsModule, FleetModule],
  controllers: [OutcomesController],
  providers: [OutcomeService, OutcomeRead, DegradedService],
  exports: [OutcomeRead],
})
export class OutcomesModule {}
