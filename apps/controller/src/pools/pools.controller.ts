import type { PoolInput, PoolPatch } from "@fulcrum/contracts/pools.js";
import { routes } from "@fulcrum/contracts/routes.js";
import type { SloTarget } from "@fulcrum/core/nouns.js";
import { Body, Controller, Headers, Inject, Param, Res } from "@nestjs/common";
import type { FastifyReply } from "fastify";
import { type Caller, FromCaller } from "../access/caller.js";
import { etagOf, versionOf } from "../http/etag.js";
import { Handles } from "../http/handles.js";
import { PoolService } from "./pool.service.js";

type ByPool = { pool: string };

@Controller()
export class PoolsController {
  constructor(@Inject(PoolService) private readonly pools: PoolService) {}

  @Handles(routes.listPools)
  async list() {
    return { items: await this.pools.list() };
  }

  @Handles(routes.createPool)
  async create(
    @Body({ schema: routes.createPool.body }) body: PoolInput,
    @FromCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    return tagged(reply, await this.pools.create(body, caller.actor));
  }

  @Handles(routes.getPool)
  async get(
    @Param({ schema: routes.getPool.params }) params: ByPool,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    return tagged(reply, await this.pools.get(params.pool));
  }

  @Handles(routes.patchPool)
  async patch(
    @Param({ schema: routes.patchPool.params }) params: ByPool,
    @Headers("if-match") ifMatch: string | undefined,
    @Body({ schema: routes.patchPool.body }) body: PoolPatch,
    @FromCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const version = versionOf(ifMatch, "required");
    return tagged(reply, await this.pools.patch(params.pool, body, version, caller.actor));
  }

  @Handles(routes.deletePool)
  async delete(
    @Param({ schema: routes.deletePool.params }) params: ByPool,
    @Headers("if-match") ifMatch: string | undefined,
    @FromCaller() caller: Caller,
  ) {
    await this.pools.delete(params.pool, versionOf(ifMatch, "optional"), caller.actor);
  }

  @Handles(routes.getSlo)
  async slo(
    @Param({ schema: routes.getSlo.params }) params: ByPool,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    return tagged(reply, await this.pools.slo(params.pool));
  }

  @Handles(routes.putSlo)
  async setSlo(
    @Param({ schema: routes.putSlo.params }) params: ByPool,
    @Headers("if-match") ifMatch: string | undefined,
    @Body({ schema: routes.putSlo.body }) body: SloTarget,
    @FromCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const version = versionOf(ifMatch, "required");
    return tagged(reply, await this.pools.setSlo(params.pool, body, version, caller.actor));
  }

  @Handles(routes.listSloVersions)
  async sloVersions(@Param({ schema: routes.listSloVersions.params }) params: ByPool) {
    return { items: await this.pools.sloVersions(params.pool) };
  }
}

/** Sends the version as ETag beside the resource. */
function tagged<T extends { version: number }>(reply: FastifyReply, resource: T): T {
  void reply.header("ETag", etagOf(resource.version));
  return resource;
}
