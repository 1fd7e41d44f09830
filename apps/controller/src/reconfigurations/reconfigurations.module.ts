import { Inject, Module, type OnModuleInit } from "@nestjs/common";
import { AssignmentsModule } from "../assignments/assignments.module.js";
import { Metrics } from "../obs/metrics.js";
import { AckService } from "./ack.service.js";
import { DeadlockService } from "./deadlock.service.js";
import { ReconfigurationQueue } from "./reconfiguration.queue.js";
import { ReconfigurationService } from "./reconfiguration.service.js";
import { ReconfigurationsController } from "./reconfigurations.controller.js";

@Module({
  imports: [AssignmentsModule],
  controllers: [ReconfigurationsController],
  providers: [ReconfigurationService, ReconfigurationQueue, AckService, DeadlockService],
  exports: [ReconfigurationQueue, DeadlockService],
})
export class ReconfigurationsModule implements OnModuleInit {
  constructor(
    @Inject(Metrics) private readonly metrics: Metrics,
    @Inject(ReconfigurationService) private readonly reconfigurations: ReconfigurationService,
  ) {}

  onModuleInit(): void {
    this.metrics.gauge("fulcrum_reconfigurations_open", "Rollouts that are not finished.", () =>
      this.reconfigurations.countOpen(),
    );
  }
}
