import { Module } from "@nestjs/common";
import { FleetController } from "./fleet.controller.js";
import { FleetMetrics } from "./fleet-metrics.js";
import { FleetRead } from "./fleet.read.js";
import { InstanceService } from "./instance.service.js";

@Module({
  controllers: [FleetController],
  providers: [FleetRead, FleetMetrics, InstanceService],
  exports: [FleetRead],
})
export class FleetModule {}
