import type { SeriesQuery } from "@fulcrum/contracts/live.js";
import { routes } from "@fulcrum/contracts/routes.js";
import { Controller, Headers, Inject, Param, Query, Res } from "@nestjs/common";
import type { FastifyReply } from "fastify";
import type { z } from "zod";
import { Authenticator } from "../access/authenticator.js";
import { Handles } from "../http/handles.js";
import { EventStreams } from "./event-streams.js";
import { FleetPageRead } from "./fleet-page.read.js";
import { SeriesRead } from "./series.read.js";

const STREAM_HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-store",
  // Of no use after the stream, and a stop need not wait for it.
  connection: "close",
  "x-accel-buffering": "no",
};

@Controller()
export class LiveController {
  constructor(
    @Inject(FleetPageRead) private readonly fleetPage: FleetPageRead,
    @Inject(SeriesRead) private readonly seriesRead: SeriesRead,
    @Inject(EventStreams) private readonly streams: EventStreams,
    @Inject(Authenticator) private readonly authenticator: Authenticator,
  ) {}

  @Handles(routes.getFleet)
  fleet(@Query({ schema: routes.getFleet.query }) query: z.infer<typeof routes.getFleet.query>) {
    return this.fleetPage.page(query);
  }

  @Handles(routes.getSeries)
  series(
    @Param({ schema: routes.getSeries.params }) params: { instance: string },
    @Query({ schema: routes.getSeries.query }) query: SeriesQuery,
  ) {
    return this.seriesRead.series(params.instance, query, Date.now());
  }

  @Handles(routes.streamEvents)
  async events(
    @Query({ schema: routes.streamEvents.query }) query: z.infer<typeof routes.streamEvents.query>,
    @Headers("last-event-id") lastEventId: string | undefined,
    @Headers("authorization") authorization: string,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const allowed = () => this.authenticator.isStillIn(authorization);
    await this.streams.open({ instance: query.instance ?? null, allowed }, lastEventId, () => {
      reply.hijack();
      reply.raw.writeHead(200, STREAM_HEADERS);
      return reply.raw;
    });
  }
}
