/** An engine as the agent sees it: a metrics page over HTTP and a control socket, both real. */
import { rm } from "node:fs/promises";
import { createServer as createHttpServer, type Server as HttpServer, type ServerResponse } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { SwitchAt } from "../partition-driver.js";
import { EngineModel, MODEL_SM_COUNT, MODEL_SM_PER_TPC, Refusal } from "./engine-model.js";
import { expositionOf, type FakeCounts, ZERO_COUNTS } from "./exposition-text.js";

/** What the metrics page does. */
export type MetricsMode = "good" | "garbage" | "hang" | "error" | "stalled";

export class FakeEngine {
  readonly model = new EngineModel();
  counts: FakeCounts = ZERO_COUNTS;
  metricsMode: MetricsMode = "good";
  scrapes = 0;

  private control: Server | null = null;
  private readonly sockets = new Set<Socket>();
  private readonly hanging = new Set<ServerResponse>();

  private constructor(
    private readonly http: HttpServer,
    readonly socketPath: string,
  ) {}

  static async start(socketPath: string): Promise<FakeEngine> {
    const http = createHttpServer();
    const engine = new FakeEngine(http, socketPath);
    http.on("request", (_request, response: ServerResponse) => engine.page(response));
    await new Promise<void>((resolve) => {
      http.listen(0, "127.0.0.1", resolve);
    });
    await engine.openControl();
    return engine;
  }

  get metricsUrl(): string {
    return `http://127.0.0.1:${(this.http.address() as AddressInfo).port}/metrics`;
  }

  /** As a kill -9: connections break and nothing answers on the control socket. */
  async kill(): Promise<void> {
    const control = this.control;
    this.control = null;
    if (!control) return;
    const closed = new Promise((resolve) => {
      control.close(resolve);
    });
    for (const socket of this.sockets) socket.destroy();
    await closed;
    await rm(this.socketPath, { force: true });
  }

  /** Back with a new boot id, the start-up allocation and counters at zero. */
  async revive(): Promise<void> {
    this.model.restart();
    this.counts = ZERO_COUNTS;
    await this.openControl();
  }

  async stop(): Promise<void> {
    await this.kill();
    for (const response of this.hanging) response.destroy();
    this.http.closeAllConnections();
    await new Promise((resolve) => {
      this.http.close(resolve);
    });
  }

  private page(response: ServerResponse): void {
    this.scrapes += 1;
    if (this.metricsMode === "hang") {
      this.hanging.add(response);
      return;
    }
    if (this.metricsMode === "error") response.statusCode = 500;
    if (this.metricsMode === "stalled") {
      // Three requests run and no token comes.
      const { finished } = this.counts;
      response.end(expositionOf({ arrivals: finished + 3, finished }));
      return;
    }
    // Every scrape sees a little more work, as a busy engine's would.
    this.counts = { ...this.counts, arrivals: this.counts.arrivals + 1, finished: this.counts.finished + 1 };
    response.end(this.metricsMode === "garbage" ? "<html>}{ not metrics" : expositionOf(this.counts));
  }

  private async openControl(): Promise<void> {
    const control = createServer((socket) => this.serve(socket));
    await new Promise<void>((resolve, reject) => {
      control.once("error", reject);
      control.listen(this.socketPath, resolve);
    });
    this.control = control;
  }

  private serve(socket: Socket): void {
    this.sockets.add(socket);
    let buffered = "";
    socket.setEncoding("utf8");
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.sockets.delete(socket));
    socket.on("data", (chunk: string) => {
      const lines = `${buffered}${chunk}`.split("\n");
      buffered = lines.pop() ?? "";
      for (const line of lines) socket.write(`${JSON.stringify(this.answer(JSON.parse(line) as Request))}\n`);
    });
  }

  private answer(request: Request): Record<string, unknown> {
    const { id, op, generation = 0, prefillSmPct = 0, decodeSmPct = 0, kvQuotaPct = 0, at = null } = request;
    try {
      if (op === "probe") return { id, ok: true, capabilities: CAPABILITIES };
      const asked = { split: { prefillSmPct, decodeSmPct }, kvQuotaPct };
      const state =
        op === "prepare"
          ? this.model.prepare(generation, asked)
          : op === "commit"
            ? this.model.commit(generation, at)
            : op === "abort"
              ? this.model.abort(generation)
              : this.model.observe();
      const { delivered, asked: ran } = state;
      return {
        id,
        ok: true,
        state: {
          ...state,
          delivered: { ...delivered.split, kvQuotaPct: delivered.kvQuotaPct },
          asked: { ...ran.split, kvQuotaPct: ran.kvQuotaPct },
          engineTimeMs: 0,
        },
      };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { id, ok: false, code: error.code, message: error.message };
    }
  }
}

interface Request {
  readonly id: number;
  readonly op: string;
  readonly generation?: number;
  readonly prefillSmPct?: number;
  readonly decodeSmPct?: number;
  readonly kvQuotaPct?: number;
  readonly at?: SwitchAt | null;
}

const CAPABILITIES = {
  live: true,
  minSmPct: 5,
  maxSmPct: 100,
  maxSumPct: 200,
  granularityPct: 1,
  smCount: MODEL_SM_COUNT,
  smPerTpc: MODEL_SM_PER_TPC,
  minKvQuotaPct: 5,
  maxKvQuotaPct: 100,
  prepareMs: 10,
};
