import { Module } from "@nestjs/common";
import { PoolService } from "./pool.service.js";
import { PoolsController } from "./pools.controller.js";

@Module({ controllers: [PoolsController], providers: [PoolService] })
export class PoolsModule {}
