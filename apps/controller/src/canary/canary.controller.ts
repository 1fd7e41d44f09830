import { routes } from "@fulcrum/contracts/routes.js";
import { Controller, Inject, Param } from "@nestjs/common";
import { Handles } from "../http/handles.js";
import { CanaryRead } from "./canary.read.js";

@Controller()
export class CanaryController {
  constructor(@Inject(CanaryRead) private readonly read: CanaryRead) {}

  @Handles(routes.getCanary)
  canary(@Param({ schema: routes.getCanary.params }) params: { pool: string }) {
    return this.read.canary(params.pool);
  }
}
