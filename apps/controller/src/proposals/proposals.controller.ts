import { routes } from "@fulcrum/contracts/routes.js";
import { Body, Controller, Inject, Param, Query } from "@nestjs/common";
import type { z } from "zod";
import { type Caller, FromCaller } from "../access/caller.js";
import { Handles } from "../http/handles.js";
import { ProposalRead } from "./proposal.read.js";
import { ProposalService } from "./proposal.service.js";

type ById = { id: string };

@Controller()
export class ProposalsController {
  constructor(
    @Inject(ProposalRead) private readonly read: ProposalRead,
    @Inject(ProposalService) private readonly proposals: ProposalService,
  ) {}

  @Handles(routes.listProposals)
  async list(
    @Query({ schema: routes.listProposals.query }) query: z.infer<typeof routes.listProposals.query>,
  ) {
    return this.read.list(query);
  }

  @Handles(routes.getProposal)
  async get(@Param({ schema: routes.getProposal.params }) params: ById) {
    return this.read.get(params.id);
  }

  @Handles(routes.approveProposal)
  async approve(
    @Param({ schema: routes.approveProposal.params }) params: ById,
    @Body({ schema: routes.approveProposal.body }) body: { comment: string | null },
    @FromCaller() caller: Caller,
  ) {
    return this.proposals.approve(params.id, body.comment, caller.actor);
  }

  @Handles(routes.rejectProposal)
  async reject(
    @Param({ schema: routes.rejectProposal.params }) params: ById,
    @Body({ schema: routes.rejectProposal.body }) body: { reason: string },
    @FromCaller() caller: Caller,
  ) {
    return this.proposals.reject(params.id, body.reason, caller.actor);
  }
}
