import { FEATURES_HEADER } from "@fulcrum/contracts/agent-api.js";
import { routes } from "@fulcrum/contracts/routes.js";
import { Controller, Headers, Inject, Query, Res } from "@nestjs/common";
import type { FastifyReply } from "fastify";
import type { z } from "zod";
import { assertSpeaksFor, type Caller, FromCaller } from "../access/caller.js";
import { Handles } from "../http/handles.js";
import { AssignmentService, takesTraces } from "./assignment.service.js";

@Controller()
export class AssignmentsController {
  constructor(@Inject(AssignmentService) private readonly assignments: AssignmentService) {}

  @Handles(routes.getAssignments)
  async get(
    @Query({ schema: routes.getAssignments.query }) query: z.infer<typeof routes.getAssignments.query>,
    @Headers("if-none-match") ifNoneMatch: string | undefined,
    @Headers(FEATURES_HEADER) features: string | undefined,
    @FromCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    assertSpeaksFor(caller, query.agent);
    const abandoned = new AbortController();
    reply.raw.once("close", () => abandoned.abort());
    const current = await this.assignments.waitForChange({
      agent: query.agent,
      etag: ifNoneMatch,
      waitMs: query.waitMs,
      traced: takesTraces(features),
      abandoned: abandoned.signal,
    });
    if (current === null) {
      void reply.status(304).header("ETag", ifNoneMatch ?? "");
      return undefined;
    }
    void reply.header("ETag", current.etag);
    return { assignments: current.assignments };
  }
}
