import { routes } from "@fulcrum/contracts/routes.js";
import { Body, Controller, Inject, Param } from "@nestjs/common";
import type { z } from "zod";
import { Handles } from "../http/handles.js";
import { type Caller, FromCaller } from "./caller.js";
import { KeyService } from "./key.service.js";

@Controller()
export class KeysController {
  constructor(@Inject(KeyService) private readonly keys: KeyService) {}

  @Handles(routes.listKeys)
  async list() {
    return { items: await this.keys.list() };
  }

  @Handles(routes.createKey)
  async create(
    @Body({ schema: routes.createKey.body }) body: z.infer<typeof routes.createKey.body>,
    @FromCaller() caller: Caller,
  ) {
    return this.keys.create(body, caller.actor);
  }

  @Handles(routes.revokeKey)
  async revoke(
    @Param({ schema: routes.revokeKey.params }) params: { id: string },
    @FromCaller() caller: Caller,
  ) {
    await this.keys.revoke(params.id, caller.actor);
  }
}
