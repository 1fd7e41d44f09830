import type { Server as HttpsServer } from "node:https";
import { NestFactory } from "@nestjs/core";
import { FastifyAdapter, type NestFastifyApplication } from "@nestjs/platform-fastify";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Logger } from "pino";
import type { DataSource } from "typeorm";
import { KeyService } from "./access/key.service.js";
import { AppModule } from "./app.module.js";
import type { Config } from "./config.js";
import { serveDashboard } from "./http/dashboard.js";
import { serveDocs } from "./http/docs-page.js";
import { drainOnClose } from "./http/drain.js";
import { ProblemFilter, sendProblem, toProblem } from "./http/problem-filter.js";
import { TlsFiles } from "./http/tls.js";
import { validationPipe } from "./http/validation.js";
import { nestLogger } from "./obs/logger.js";

/** A request that has not arrived whole after this long is cut off; held polls are not affected. */
const REQUEST_TIMEOUT_MS = 30_000;

/** The whole service, ready to listen. The caller owns the database and closes it last. */
export async function createApp(
  config: Config,
  logger: Logger,
  source: DataSource,
): Promise<NestFastifyApplication> {
  const tls = config.tls && new TlsFiles(config.tls, logger);
  const adapter = new FastifyAdapter({
    ...(tls ? { https: tls.options() } : {}),
    bodyLimit: config.bodyLimitBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // On a stop idle keep-alive connections are cut and busy ones are served to the end.
    forceCloseConnections: "idle",
    trustProxy: false,
    // What fails before a handler is chosen: a path that is not UTF-8, a parameter that is too long.
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) =>
      sendProblem(toProblem(error, request.url), reply),
  });
  const app = await NestFactory.create<NestFastifyApplication>(
    AppModule.with(config, logger, source),
    adapter,
    {
      logger: nestLogger(logger),
      abortOnError: false,
      // JSON and nothing else: Nest would also read forms.
      bodyParser: false,
    },
  );
  app.useGlobalPipes(validationPipe());
  app.useGlobalFilters(new ProblemFilter(logger));
  adapter.getInstance().removeContentTypeParser("text/plain");
  // First: it parts plain http from TLS before anybody else sees the connection.
  tls?.serve(adapter.getInstance().server as unknown as HttpsServer);
  drainOnClose(adapter.getInstance());
  serveDocs(adapter.getInstance());
  serveDashboard(adapter.getInstance());
  if (config.bootstrapAdminKey) await app.get(KeyService).ensureBootstrapKey(config.bootstrapAdminKey);
  return app;
}
