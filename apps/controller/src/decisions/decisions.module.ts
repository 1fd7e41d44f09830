import { Module } from "@nestjs/common";
import { AssignmentsModule } from "../assignments/assignments.module.js";
import { OutcomesModule } from "../outcomes/outcomes.module.js";
import { ReconfigurationsModule } from "../reconfigurations/reconfigurations.module.js";
import { DecisionService } from "./decision.service.js";
import { RecentWindows } from "./recent-windows.js";
import { DecisionsController } from "./decisions.controller.js";

@Module({
  imports: [OutcomesModule, ReconfigurationsModule, AssignmentsModule],
  controllers: [DecisionsController],
  providers: [DecisionService, RecentWindows],
  exports: [DecisionService, RecentWindows],
})
export class DecisionsModule {}
