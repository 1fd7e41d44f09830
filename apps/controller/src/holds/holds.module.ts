import { Inject, Module, type OnModuleInit } from "@nestjs/common";
import { AssignmentsModule } from "../assignments/assignments.module.js";
import { FleetModule } from "../fleet/fleet.module.js";
import { ReconfigurationQueue } from "../reconfigurations/reconfiguration.queue.js";
import { ReconfigurationsModule } from "../reconfigurations/reconfigurations.module.js";
import { HoldService } from "./hold.service.js";
import { HoldsController } from "./holds.controller.js";
import { ManualService } from "./manual.service.js";

@Module({
  imports: [FleetModule, AssignmentsModule, ReconfigurationsModule],
  controllers: [HoldsController],
  providers: [HoldService, ManualService],
})
export class HoldsModule implements OnModuleInit {
  constructor(
    @Inject(HoldService) private readonly holds: HoldService,
    @Inject(ReconfigurationQueue) private readonly queue: ReconfigurationQueue,
  ) {}

  onModuleInit(): void {
    this.queue.onSweep(() => this.holds.settle());
  }
}
