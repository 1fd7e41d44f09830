import "reflect-metadata";
import type { Logger } from "pino";
import type { DataSource } from "typeorm";
import type { NestFastifyApplication } from "@nestjs/platform-fastify";
import { type Config, readConfig } from "./config.js";
import { createApp } from "./create-app.js";
import { dataSourceOptions, openDatabase } from "./db/data-source.js";
import { createLogger } from "./obs/logger.js";

/** A stop that takes longer is cut short: whoever stops us will not wait for ever either. */
const STOP_WITHIN_MS = 20_000;

/** The only file that may end the process. */
async function main(): Promise<void> {
  let config: Config;
  try {
    config = readConfig(process.env);
  } catch (error) {
    process.stderr.write(`fulcrum controller: the configuration is not valid\n${(error as Error).message}\n`);
    process.exit(2);
  }
  const logger = createLogger(config.logLevel);
  const source = await openDatabase(dataSourceOptions(config.databaseUrl, config.dbPoolSize));
  const app = await createApp(config, logger, source);
  stopOn(app, source, logger);
  await app.listen(config.port, config.host);
  const url = await app.getUrl();
  logger.info({ event: "ready", url });
  process.stdout.write(`${JSON.stringify({ event: "ready", url })}\n`);
}

function stopOn(app: NestFastifyApplication, source: DataSource, logger: Logger): void {
  let stopping = false;
  const stop = (cause: string) => {
    if (stopping) return;
    stopping = true;
    logger.info({ event: "stopping", cause });
    setTimeout(() => {
      logger.error({ event: "stop_cut_short", afterMs: STOP_WITHIN_MS });
      process.exit(1);
    }, STOP_WITHIN_MS).unref();
    app
      .close()
      .then(() => source.destroy())
      .then(
        () => process.exit(0),
        (error: unknown) => {
          logger.error({ event: "stop_failed", err: error });
          process.exit(1);
        },
      );
  };
  process.once("SIGTERM", () => stop("SIGTERM"));
  process.once("SIGINT", () => stop("SIGINT"));
  if (process.argv.includes("--exit-with-parent")) {
    process.stdin.resume();
    process.stdin.once("end", () => stop("parent gone"));
    process.stdin.once("error", () => stop("parent gone"));
  }
}

main().catch((error: unknown) => {
  process.stderr.write(
    `fulcrum controller: could not start: ${error instanceof Error ? error.message : String(error)}\n`,
  );
  process.exit(1);
});
