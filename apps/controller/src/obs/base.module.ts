import { type DynamicModule, Global, Module } from "@nestjs/common";
import type { Logger } from "pino";
import { DataSource } from "typeorm";
import { CONFIG, type Config } from "../config.js";
import { Housekeeping } from "../db/housekeeping.js";
import { LOGGER } from "./logger.js";
import { Metrics } from "./metrics.js";
import { Tracing } from "./tracing.js";

/** What every capability may use: configuration, log, metrics, and the database that main opened. */
@Global()
@Module({})
export class BaseModule {
  static with(config: Config, logger: Logger, source: DataSource): DynamicModule {
    return {
      module: BaseModule,
      providers: [
        { provide: CONFIG, useValue: config },
        { provide: LOGGER, useValue: logger },
        { provide: DataSource, useValue: source },
        Metrics,
        Tracing,
        Housekeeping,
      ],
      exports: [CONFIG, LOGGER, DataSource, Metrics, Tracing, Housekeeping],
    };
  }
}
