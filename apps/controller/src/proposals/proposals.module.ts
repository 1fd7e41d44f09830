import { Inject, Module, type OnModuleInit } from "@nestjs/common";
import { AssignmentsModule } from "../assignments/assignments.module.js";
import { ReconfigurationQueue } from "../reconfigurations/reconfiguration.queue.js";
import { ReconfigurationsModule } from "../reconfigurations/reconfigurations.module.js";
import { ProposalRead } from "./proposal.read.js";
import { ProposalService } from "./proposal.service.js";
import { ProposalsController } from "./proposals.controller.js";

@Module({
  imports: [AssignmentsModule, ReconfigurationsModule],
  controllers: [ProposalsController],
  providers: [ProposalRead, ProposalService],
})
export class ProposalsModule implements OnModuleInit {
  constructor(
    @Inject(ProposalService) private readonly proposals: ProposalService,
    @Inject(ReconfigurationQueue) private readonly queue: ReconfigurationQueue,
  ) {}

  onModuleInit(): void {
    this.queue.onSweep(() => this.proposals.settle());
  }
}
