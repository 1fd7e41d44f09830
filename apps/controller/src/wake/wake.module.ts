import { Inject, Module, type OnApplicationBootstrap, type OnApplicationShutdown } from "@nestjs/common";
import type { Logger } from "pino";
import { DataSource } from "typeorm";
import { CONFIG, type Config } from "../config.js";
import { LOGGER } from "../obs/logger.js";
import { PostgresWake } from "./postgres-wake.js";
import { RedisWake } from "./redis-wake.js";
import { WAKE, type Wake } from "./wake.js";

@Module({
  providers: [
    {
      provide: WAKE,
      inject: [CONFIG, DataSource, LOGGER],
      useFactory: (config: Config, source: DataSource, logger: Logger): Wake =>
        config.redisUrl
          ? new RedisWake(config.redisUrl, logger)
          : new PostgresWake(config.databaseUrl, (sql, parameters) => source.query(sql, parameters), logger),
    },
  ],
  exports: [WAKE],
})
export class WakeModule implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(@Inject(WAKE) private readonly wake: Wake) {}

  async onApplicationBootstrap(): Promise<void> {
    await this.wake.start();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.wake.close();
  }
}
