import { routes } from "@fulcrum/contracts/routes.js";
import { Controller, Inject, Param } from "@nestjs/common";
import { Handles } from "../http/handles.js";
import { CapacityRead } from "./capacity.read.js";

@Controller()
export class CapacityController {
  constructor(@Inject(CapacityRead) private readonly read: CapacityRead) {}

  @Handles(routes.getCapacity)
  async capacity(@Param({ schema: routes.getCapacity.params }) params: { pool: string }) {
    return this.read.capacity(params.pool);
  }
}
