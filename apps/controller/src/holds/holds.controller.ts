import type {
  FreezeWindowInput,
  OverrideInput,
  PauseInput,
  PinInput,
  RollbackInput,
} from "@fulcrum/contracts/holds.js";
import { routes } from "@fulcrum/contracts/routes.js";
import { Body, Controller, Inject, Param, Query } from "@nestjs/common";
import { type Caller, FromCaller } from "../access/caller.js";
import { FleetRead } from "../fleet/fleet.read.js";
import { Handles } from "../http/handles.js";
import { HoldService } from "./hold.service.js";
import type { HoldQuery } from "./hold-read.js";
import { ManualService } from "./manual.service.js";

type ByInstance = { instance: string };

@Controller()
export class HoldsController {
  constructor(
    @Inject(HoldService) private readonly holds: HoldService,
    @Inject(ManualService) private readonly manual: ManualService,
    @Inject(FleetRead) private readonly fleet: FleetRead,
  ) {}

  @Handles(routes.listHolds)
  async list(@Query({ schema: routes.listHolds.query }) query: HoldQuery) {
    return this.holds.list(query);
  }

  @Handles(routes.createPause)
  async pause(@Body({ schema: routes.createPause.body }) body: PauseInput, @FromCaller() caller: Caller) {
    return this.holds.pause(body, caller.actor);
  }

  @Handles(routes.createFreezeWindow)
  async freezeWindow(
    @Body({ schema: routes.createFreezeWindow.body }) body: FreezeWindowInput,
    @FromCaller() caller: Caller,
  ) {
    return this.holds.freezeWindow(body, caller.actor);
  }

  @Handles(routes.endHold)
  async end(
    @Param({ schema: routes.endHold.params }) params: { id: string },
    @Query({ schema: routes.endHold.query }) query: { reason: string },
    @FromCaller() caller: Caller,
  ) {
    return this.holds.end(params.id, query.reason, caller.actor);
  }

  @Handles(routes.pinInstance)
  async pin(
    @Param({ schema: routes.pinInstance.params }) params: ByInstance,
    @Body({ schema: routes.pinInstance.body }) body: PinInput,
    @FromCaller() caller: Caller,
  ) {
    await this.holds.pin(params.instance, body, caller.actor);
    return this.fleet.instance(params.instance);
  }

  @Handles(routes.unpinInstance)
  async unpin(
    @Param({ schema: routes.unpinInstance.params }) params: ByInstance,
    @FromCaller() caller: Caller,
  ) {
    await this.holds.unpin(params.instance, caller.actor);
    return this.fleet.instance(params.instance);
  }

  @Handles(routes.overrideInstance)
  async override(
    @Param({ schema: routes.overrideInstance.params }) params: ByInstance,
    @Body({ schema: routes.overrideInstance.body }) body: OverrideInput,
    @FromCaller() caller: Caller,
  ) {
    return this.manual.override(params.instance, body, caller.actor);
  }

  @Handles(routes.listGenerations)
  async generations(@Param({ schema: routes.listGenerations.params }) params: ByInstance) {
    return this.manual.generations(params.instance);
  }

  @Handles(routes.rollbackInstance)
  async rollback(
    @Param({ schema: routes.rollbackInstance.params }) params: ByInstance,
    @Body({ schema: routes.rollbackInstance.body }) body: RollbackInput,
    @FromCaller() caller: Caller,
  ) {
    return this.manual.rollback(params.instance, body, caller.actor);
  }
}
