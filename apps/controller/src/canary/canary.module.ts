import { Module } from "@nestjs/common";
import { ReconfigurationsModule } from "../reconfigurations/reconfigurations.module.js";
import { CanaryController } from "./canary.controller.js";
import { CanaryRead } from "./canary.read.js";
import { CanaryService } from "./canary.service.js";

@Module({
  imports: [ReconfigurationsModule],
  controllers: [CanaryController],
  providers: [CanaryService, CanaryRead],
  exports: [CanaryRead],
})
export class CanaryModule {}
