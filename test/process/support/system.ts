/** A whole Fulcrum of real processes on this machine, put together piece by piece by a test. */
import { randomBytes } from "node:crypto";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { ApiClient, type ApiBody } from "@fulcrum/cli/api/client.js";
import type { Instance, ReconfigurationResource } from "@fulcrum/contracts/resources.js";
import { temporaryDataDir } from "@fulcrum/embedded/default-data-dir.js";
import { type PostgresOptions, type RunningPostgres, startPostgres } from "@fulcrum/embedded/postgres.js";
import { Client } from "pg";
import { stringify } from "yaml";

import { appMain, NodeProcess } from "./node-process.js";
import { until } from "./until.js";

/** Short, so that a rollout that is stuck is seen to be within seconds. */
export const SHORT_TIMEOUTS = {
  FULCRUM_OFFER_TIMEOUT_MS: "3000",
  FULCRUM_PREPARE_TIMEOUT_MS: "4000",
  FULCRUM_SWITCH_TIMEOUT_MS: "3000",
  FULCRUM_VERIFY_TIMEOUT_MS: "3000",
  FULCRUM_RETRY_BACKOFF_MS: "200",
} as const;

export const WINDOW_MS = 300;

export interface Engine {
  readonly name: string;
  readonly socket: string;
  readonly metricsUrl: string;
  readonly process: NodeProcess;
  readonly flags: readonly string[];
}

export interface AgentOptions {
  readonly name: string;
  readonly controllerUrl: string;
  readonly instances: readonly {
    readonly instance: string;
    readonly pool: string;
    readonly engine: Engine;
    readonly ranks?: readonly number[];
    readonly rankCount?: number;
  }[];
  readonly windowMs?: number;
  readonly deadlines?: { readonly prepareMs?: number };
  /** Absent: a key of its own is made; else what its key file holds. */
  readonly key?: string;
}

export interface AgentSetup {
  readonly name: string;
  readonly configFile: string;
  readonly keyFile: string;
}

export interface AgentStatus {
  readonly conditions: readonly string[];
  readonly controller: {
    readonly unreachableSince: string | null;
    readonly refusal: string | null;
    readonly registered: readonly string[];
    readonly pendingAcks: number;
  };
  readonly instances: readonly {
    readonly instance: string;
    readonly observed: { readonly generation: number; readonly phase: string } | null;
    readonly target: {
      readonly generation: number;
      readonly attempt: number;
      readonly outcome: string;
    } | null;
    readonly lastGood: { readonly generation: number } | null;
    readonly highestGeneration: number;
    readonly settled: boolean;
    readonly nextSeq: number;
    readonly bufferedWindows: number;
    readonly droppedWindows: number;
    readonly conditions: readonly string[];
  }[];
}

export class System {
  readonly adminKey = `fk_${randomBytes(32).toString("base64url")}`;
  private readonly closers: (() => Promise<unknown>)[] = [];

  private constructor(
    readonly folder: string,
    /** Changes when Postgres is started anew on another port. */
    readonly databaseUrl: string,
  ) {}

  /** A folder and a database of its own. */
  static async open(postgresUrl: string): Promise<System> {
    const name = `process_${randomBytes(6).toString("hex")}`;
    await query(postgresUrl, `CREATE DATABASE ${name}`);
    const url = new URL(postgresUrl);
    url.pathname = `/${name}`;
    const folder = await temporaryDataDir();
    const system = new System(folder, url.href);
    system.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
    return system;
  }

  /** Done at the end, newest first, whatever happened. */
  defer(close: () => Promise<unknown>): void {
    this.closers.push(close);
  }

  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (const close of this.closers.splice(0).toReversed())
      await close().catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw new AggregateError(failures, "not everything could be cleaned up");
  }

  async controller(
    env: Readonly<Record<string, string>> = {},
  ): Promise<{ process: NodeProcess; url: string }> {
    const process = await NodeProcess.start({
      script: appMain("controller"),
      args: ["--exit-with-parent"],
      env: {
        DATABASE_URL: this.databaseUrl,
        HOST: "127.0.0.1",
        PORT: "0",
        FULCRUM_BOOTSTRAP_ADMIN_KEY: this.adminKey,
        FULCRUM_DB_POOL: "5",
        ...SHORT_TIMEOUTS,
        ...env,
      },
    });
    this.defer(() => process.kill());
    return { process, url: String(process.ready["url"]) };
  }

  api(url: string): Admin {
    return new Admin(new ApiClient({ url, key: this.adminKey }));
  }

  async engine(name: string, ...flags: string[]): Promise<Engine> {
    return this.launchEngine(name, 0, flags);
  }

  /** The same engine again: same name, socket, port and flags. */
  async engineAgain(engine: Engine): Promise<Engine> {
    return this.launchEngine(engine.name, Number(new URL(engine.metricsUrl).port), engine.flags);
  }

  private async launchEngine(name: string, port: number, flags: readonly string[]): Promise<Engine> {
    const socket = join(this.folder, `${name}.sock`);
    const process = await NodeProcess.start({
      script: appMain("engine-sim"),
      args: [
        `--name=${name}`,
        `--socket=${socket}`,
        `--port=${port}`,
        "--fine-buckets",
        ...flags,
        "--exit-with-parent",
      ],
    });
    this.defer(() => process.kill());
    const metricsUrl = `http://127.0.0.1:${String(process.ready["port"])}/metrics`;
    return { name, socket, metricsUrl, process, flags };
  }

  /** Writes an agent's configuration and its key. */
  async agentSetup(admin: Admin, options: AgentOptions): Promise<AgentSetup> {
    const { name, instances, windowMs = WINDOW_MS } = options;
    const keyFile = join(this.folder, `${name}.key`);
    const configFile = join(this.folder, `${name}.yaml`);
    await writeFile(keyFile, options.key ?? (await admin.agentKey(name)));
    const config = {
      agent: name,
      controller: {
        url: options.controllerUrl,
        keyFile,
        requestTimeoutMs: 3_000,
        longPollMs: 2_000,
        reregisterMs: 300,
        maxBackoffMs: 400,
      },
      stateDir: join(this.folder, `${name}-state`),
      windowMs,
      pollMs: 20,
      statusPort: 0,
      ...(options.deadlines ? { deadlines: options.deadlines } : {}),
      instances: instances.map(({ instance, pool, engine, ranks = [0], rankCount = 1 }) => ({
        instance,
        pool,
        ranks,
        rankCount,
        reader: { type: "sglang", url: engine.metricsUrl, timeoutMs: 1_000 },
        driver: { type: "engine-sim", socket: engine.socket, timeoutMs: 1_000 },
      })),
    };
    await writeFile(configFile, stringify(config));
    return { name, keyFile, configFile };
  }

  async startAgent(setup: AgentSetup): Promise<NodeProcess> {
    const process = await NodeProcess.start({
      script: appMain("agent"),
      args: ["--config", setup.configFile, "--exit-with-parent"],
    });
    this.defer(() => process.kill());
    return process;
  }

  sql<T = Record<string, unknown>>(text: string, values: unknown[] = []): Promise<T[]> {
    return query<T>(this.databaseUrl, text, values);
  }

  /** The numbers of the windows that are stored, in order. */
  async storedWindows(instance: string): Promise<number[]> {
    const rows = await this.sql<{ seq: string }>(
      `SELECT w.seq FROM windows w JOIN instances i ON i.id = w.instance_id WHERE i.name = $1 ORDER BY w.seq`,
      [instance],
    );
    return rows.map(({ seq }) => Number(seq));
  }
}

export async function statusOf(agent: NodeProcess): Promise<AgentStatus> {
  const response = await fetch(`${String(agent.ready["statusUrl"])}/status`, {
    signal: AbortSignal.timeout(3_000),
  });
  return (await response.json()) as AgentStatus;
}

/** What an agent of one instance says of it. */
export async function instanceStatusOf(agent: NodeProcess): Promise<AgentStatus["instances"][number]> {
  const [status] = (await statusOf(agent)).instances;
  if (status === undefined) throw new Error("the agent has no instance");
  return status;
}

/** The admin API, as the CLI's client speaks it, and what tests ask of it again and again. */
export class Admin {
  constructor(readonly client: ApiClient) {}

  async agentKey(agent: string): Promise<string> {
    const { body } = await this.client.call("createKey", {
      body: { name: `agent ${agent}`, role: "agent", agent },
    });
    return body.key;
  }

  /** A pool whose target is the operator's word: it moves when it is told to and not before. */
  async staticPool(name: string, over: Partial<ApiBody<"createPool">> = {}): Promise<void> {
    await this.client.call("createPool", {
      body: {
        name,
        model: "llama3-8b, simulated",
        mode: "enforce",
        policy: staticAt(100, 100),
        slo: SLO,
        controlIntervalMs: WINDOW_MS,
        lookbackMs: 3_000,
        guards: { maxStepPct: 99, dwellMs: 0, staleAfterMs: 1_500 },
        ...over,
      },
    });
  }

  /** Has the pool's instances go there with their next report. */
  async moveTo(pool: string, prefillSmPct: number, decodeSmPct: number): Promise<void> {
    const { etag } = await this.client.call("getPool", { params: { pool } });
    await this.client.call("patchPool", {
      params: { pool },
      body: { policy: staticAt(prefillSmPct, decodeSmPct) },
      ifMatch: etag ?? "",
    });
  }

  async instance(name: string): Promise<Instance> {
    return (await this.client.call("getInstance", { params: { instance: name } })).body;
  }

  /** The newest first, with their steps. */
  async rollouts(instance: string): Promise<ReconfigurationResource[]> {
    const { body } = await this.client.call("listReconfigurations", { query: { instance } });
    return Promise.all(
      body.items.map(
        async ({ id }) => (await this.client.call("getReconfiguration", { params: { id } })).body,
      ),
    );
  }

  /** Waits until the rollout of a generation is in one of the states. */
  async rolloutIn(
    instance: string,
    generation: number,
    ...states: string[]
  ): Promise<ReconfigurationResource> {
    return until(
      `generation ${generation} of ${instance} is ${states.join(" or ")}`,
      async () => {
        const all = await this.rollouts(instance);
        const rollout = all.find((each) => each.generation === generation);
        if (rollout !== undefined && states.includes(rollout.state)) return rollout;
        throw new Error(
          JSON.stringify(
            all.map(({ generation, state, attempt, failure }) => [generation, state, attempt, failure]),
          ),
        );
      },
      30_000,
    );
  }
}

export const SLO = {
  ttft: { percentile: 0.9, boundMs: 500 },
  tpot: { percentile: 0.9, boundMs: 60 },
  attainmentShare: 0.9,
} as const;

export function staticAt(prefillSmPct: number, decodeSmPct: number): ApiBody<"createPool">["policy"] {
  return {
    name: "static",
    params: { allocation: { split: { prefillSmPct, decodeSmPct }, kvQuotaPct: 100 } },
  };
}

/** A server in a folder of its own; `options` as for startPostgres. */
export async function startServer(
  options: Partial<PostgresOptions> = {},
): Promise<{ server: RunningPostgres; folder: string; close: () => Promise<void> }> {
  const folder = options.dataDir ?? (await temporaryDataDir());
  const server = await startPostgres({ dataDir: folder, ...options });
  const close = async () => {
    await server.stop();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  return { server, folder, close };
}

export async function query<T = Record<string, unknown>>(
  url: string,
  text: string,
  values: unknown[] = [],
): Promise<T[]> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  client.on("error", () => undefined);
  await client.connect();
  try {
    return (await client.query(text, values)).rows as T[];
  } finally {
    await client.end();
  }
}
