import { Inject, Module, type OnModuleInit } from "@nestjs/common";
import { Metrics } from "../obs/metrics.js";
import { ReconfigurationsModule } from "../reconfigurations/reconfigurations.module.js";
import { CapacityController } from "./capacity.controller.js";
import { CapacityRead, type PoolFigures } from "./capacity.read.js";
import { CapacityService } from "./capacity.service.js";

@Module({
  imports: [ReconfigurationsModule],
  controllers: [CapacityController],
  providers: [CapacityService, CapacityRead],
})
export class CapacityModule implements OnModuleInit {
  constructor(
    @Inject(CapacityRead) private readonly read: CapacityRead,
    @Inject(Metrics) private readonly metrics: Metrics,
  ) {}

  onModuleInit(): void {
    const gauge = (name: string, help: string, pick: (figures: PoolFigures) => number | null) =>
      this.metrics.poolGauge(name, help, async () =>
        (await this.read.figures(Date.now())).flatMap((figures) => {
          const value = pick(figures);
          return value === null ? [] : [{ pool: figures.pool, value }];
        }),
      );
    gauge("fulcrum_pool_instances", "Instances of a pool.", ({ instances }) => instances);
    gauge(
      "fulcrum_pool_instances_needed",
      "Instances that would keep the pool's promise at the best split, by the model, with its safety margin.",
      ({ needed }) => needed,
    );
    gauge(
      "fulcrum_pool_headroom",
      "How many times the present load the pool's instances would carry at the best split; absent where not known.",
      ({ headroom }) => headroom,
    );
  }
}
