import { openApiDocument } from "@fulcrum/contracts/openapi.js";
import { Controller, Get, Header, Inject, Res } from "@nestjs/common";
import type { FastifyReply } from "fastify";
import { DataSource } from "typeorm";
import { VERSION } from "../version.js";
import { Metrics } from "./metrics.js";

/** A probe that waits longer than this counts as failed. */
const READY_TIMEOUT_MS = 2_000;

@Controller()
export class HealthController {
  private readonly document = openApiDocument(VERSION);

  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Metrics) private readonly metrics: Metrics,
  ) {}

  /** The process answers. */
  @Get("/healthz")
  healthz() {
    return { status: "ok", version: VERSION };
  }

  /** The process can do its work: the database answers. */
  @Get("/readyz")
  async readyz(@Res({ passthrough: true }) reply: FastifyReply) {
    const database = await this.databaseAnswers();
    if (!database) void reply.status(503);
    return { status: database ? "ok" : "unavailable", checks: { database: database ? "ok" : "unreachable" } };
  }

  @Get("/metrics")
  async prometheus(@Res({ passthrough: true }) reply: FastifyReply) {
    void reply.header("Content-Type", this.metrics.registry.contentType);
    return this.metrics.registry.metrics();
  }

  @Get("/openapi.json")
  @Header("Cache-Control", "no-cache")
  openapi() {
    return this.document;
  }

  private async databaseAnswers(): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), READY_TIMEOUT_MS);
    });
    const answer = this.source.query("SELECT 1").then(
      () => true,
      () => false,
    );
    return Promise.race([answer, late]).finally(() => clearTimeout(timer));
  }
}
