import { Module } from "@nestjs/common";
import { AccessModule } from "../access/access.module.js";
import { EventStreams } from "./event-streams.js";
import { FleetPageRead } from "./fleet-page.read.js";
import { LiveController } from "./live.controller.js";
import { LiveFeed } from "./live-feed.js";
import { SeriesRead } from "./series.read.js";

@Module({
  imports: [AccessModule],
  controllers: [LiveController],
  providers: [LiveFeed, EventStreams, FleetPageRead, SeriesRead],
})
export class LiveModule {}
