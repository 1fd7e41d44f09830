import { Module } from "@nestjs/common";
import { WakeModule } from "../wake/wake.module.js";
import { AssignmentService } from "./assignment.service.js";
import { AssignmentsController } from "./assignments.controller.js";

@Module({
  imports: [WakeModule],
  controllers: [AssignmentsController],
  providers: [AssignmentService],
  exports: [AssignmentService],
})
export class AssignmentsModule {}
