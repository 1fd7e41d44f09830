import { routes } from "@fulcrum/contracts/routes.js";
import { Controller, Inject, Param, Query } from "@nestjs/common";
import type { z } from "zod";
import { type Caller, FromCaller } from "../access/caller.js";
import { Handles } from "../http/handles.js";
import { ProblemError } from "../http/problem-error.js";
import { FleetRead } from "./fleet.read.js";
import { InstanceService } from "./instance.service.js";

type ByInstance = { instance: string };

@Controller()
export class FleetController {
  constructor(
    @Inject(FleetRead) private readonly read: FleetRead,
    @Inject(InstanceService) private readonly instances: InstanceService,
  ) {}

  @Handles(routes.listInstances)
  async list(
    @Query({ schema: routes.listInstances.query }) query: z.infer<typeof routes.listInstances.query>,
  ) {
    return this.read.instances(query);
  }

  @Handles(routes.getInstance)
  async get(@Param({ schema: routes.getInstance.params }) params: ByInstance) {
    return this.read.instance(params.instance);
  }

  @Handles(routes.deleteInstance)
  async delete(
    @Param({ schema: routes.deleteInstance.params }) params: ByInstance,
    @FromCaller() caller: Caller,
  ) {
    await this.instances.delete(params.instance, caller.actor);
  }

  @Handles(routes.listWindows)
  async windows(
    @Param({ schema: routes.listWindows.params }) params: ByInstance,
    @Query({ schema: routes.listWindows.query }) query: z.infer<typeof routes.listWindows.query>,
  ) {
    return this.read.windows(params.instance, query);
  }

  @Handles(routes.listAgents)
  async agents() {
    return { items: await this.read.agents() };
  }

  @Handles(routes.getAgent)
  async agent(@Param({ schema: routes.getAgent.params }) params: { agent: string }) {
    const [agent] = await this.read.agents(params.agent);
    if (!agent) throw new ProblemError("not_found", `There is no agent ${params.agent}.`);
    return agent;
  }
}
