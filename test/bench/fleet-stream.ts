/**
 * `npm run bench -- fleet-stream`: what the fleet's page costs the controller. 1,000 instances report one window a
 * second each; after a while one page listens to every event, and the fleet is read again and again. Prints, judges
 * nothing. `--instances N`, `--seconds N` of each phase, `--warm-s N` before.
 */
import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { request } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Client, FakeAgent, INSTANCES_PER_AGENT } from "./fleet.js";
import { type Spread, spread } from "./latency.js";
import { withOwnController } from "./own-controller.js";
import type { ServerProcess } from "./server-process.js";

const READS = 20;

export async function fleetStreamBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: "string" },
      instances: { type: "string", default: "1000" },
      seconds: { type: "string", default: "20" },
      // Two minutes of windows are what the sparklines show.
      "warm-s": { type: "string", default: "120" },
    },
  });
  const instances = Number(values.instances);
  const seconds = Number(values.seconds);
  if (!(instances >= 1 && instances <= 10_000)) throw new Error("--instances must be 1..10000");
  if (!(seconds >= 1 && seconds <= 600)) throw new Error("--seconds must be 1..600");
  const warmS = Number(values["warm-s"]);
  if (!(warmS >= 1 && warmS <= 3_600)) throw new Error("--warm-s must be 1..3600");
  const figures = await withOwnController(({ server, key }) =>
    measure(server, key, { instances, seconds, warmS }),
  );
  if (values.json) await writeFile(values.json, `${JSON.stringify(figures, null, 2)}\n`);
}

async function measure(
  server: ServerProcess,
  key: string,
  { instances, seconds, warmS }: { instances: number; seconds: number; warmS: number },
) {
  const admin = new Client(server.url, key, 4);
  const { key: agentKey } = await admin.json<{ key: string }>("POST", "/v1/keys", {
    name: "bench",
    role: "agent",
  });
  const agents = await register(admin, new Client(server.url, agentKey, 8), instances);
  const reporting = new Reports(server, agentKey, agents);
  console.log(
    `\n${instances} instances, one window a second each, reported 16 at a time; ${warmS} s before anybody looks`,
  );
  await pause(warmS * 1_000);
  const idle = await usage(server, seconds);
  say("nobody looks", idle);

  const firstMs = await timed(admin, "/v1/fleet");
  const reads: number[] = [];
  let bytes = 0;
  for (let n = 0; n < READS; n += 1) {
    const startedAt = performance.now();
    bytes = (await admin.send("GET", "/v1/fleet")).text.length;
    reads.push(performance.now() - startedAt);
    await pause(1_000);
  }
  const fleet = spread(reads);
  console.log(
    `  GET /v1/fleet: the first ${ms(firstMs)} (reads the last half minute of windows), then p50 ${ms(fleet.p50)}, longest of ${READS} ${ms(fleet.p99)}; ${(bytes / 1e6).toFixed(2)} MB`,
  );

  const stream = await Stream.open(server.url, key);
  const before = stream.bytes;
  const listened = await usage(server, seconds);
  const bytesPerS = (stream.bytes - before) / seconds;
  const eventsPerS = stream.windows / seconds;
  stream.close();
  say("one page listens", listened);
  console.log(`  the stream: ${(bytesPerS / 1_000).toFixed(0)} KB/s, ${eventsPerS.toFixed(0)} windows/s`);
  const series = await seriesTimes(admin, agents[0]!.instances[0]!);
  console.log(`  GET series of 15 minutes, ${series.points} points: p50 ${ms(series.took.p50)}`);
  const late = await reporting.stop();
  console.log(`  reports answered: p50 ${ms(late.p50)}, p99 ${ms(late.p99)}`);
  admin.close();
  return {
    instances,
    idle,
    firstMs,
    fleet,
    fleetBytes: bytes,
    listened,
    bytesPerS,
    eventsPerS,
    series,
    reports: late,
  };
}

interface Usage {
  readonly cpuShare: number;
  readonly postgresCpuShare: number | null;
  readonly rssMb: number;
}

async function usage(server: ServerProcess, seconds: number): Promise<Usage> {
  const cpu = server.cpuS() ?? 0;
  const postgres = postgresCpuS();
  await pause(seconds * 1_000);
  const after = postgresCpuS();
  return {
    cpuShare: ((server.cpuS() ?? 0) - cpu) / seconds,
    postgresCpuShare: postgres === null || after === null ? null : (after - postgres) / seconds,
    rssMb: (server.rssBytes() ?? 0) / 1_048_576,
  };
}

/** All processes named postgres: on a machine that runs others too this says too much. */
function postgresCpuS(): number | null {
  try {
    let ticks = 0;
    for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
      try {
        const [head, tail] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ");
        const fields = tail!.split(" ");
        if (head!.includes("(postgres")) ticks += Number(fields[11]) + Number(fields[12]);
      } catch {
        // It has ended meanwhile.
      }
    }
    return ticks / 100;
  } catch {
    return null;
  }
}

/** Every agent reports once a second, each at its own moment. */
export class Reports {
  private readonly took: number[] = [];
  private stopping = false;
  private readonly all: Promise<unknown>;

  constructor(server: ServerProcess, key: string, agents: readonly FakeAgent[]) {
    const client = new Client(server.url, key, agents.length);
    this.all = Promise.all(
      agents.map(async (agent, index) => {
        await pause((index * 1_000) / agents.length);
        while (!this.stopping) {
          const startedAt = performance.now();
          const answer = await client.send("POST", "/agent/v1/report", agent.report());
          if (answer.status !== 200) throw new Error(`report refused: ${answer.status} ${answer.text}`);
          this.took.push(performance.now() - startedAt);
          await pause(Math.max(0, 1_000 - (performance.now() - startedAt)));
        }
      }),
    ).finally(() => client.close());
  }

  async stop(): Promise<Spread> {
    this.stopping = true;
    await this.all;
    return spread(this.took);
  }
}

class Stream {
  bytes = 0;
  windows = 0;

  private constructor(readonly close: () => void) {}

  static open(url: string, key: string): Promise<Stream> {
    return new Promise((resolve, reject) => {
      const sent = request(`${url}/v1/events`, { headers: { authorization: `Bearer ${key}` } }, (answer) => {
        if (answer.statusCode !== 200) return reject(new Error(`events answered ${answer.statusCode}`));
        const stream = new Stream(() => answer.destroy());
        answer.on("error", () => {});
        answer.on("data", (chunk: Buffer) => {
          stream.bytes += chunk.length;
          stream.windows += chunk.toString("latin1").split("event: window").length - 1;
        });
        resolve(stream);
      });
      sent.on("error", reject);
      sent.end();
    });
  }
}

export async function register(admin: Client, client: Client, instances: number): Promise<FakeAgent[]> {
  await admin.json("POST", "/v1/pools", {
    name: "stream",
    model: "bench",
    mode: "observe",
    slo: {
      ttft: { percentile: 0.9, boundMs: 400 },
      tpot: { percentile: 0.9, boundMs: 60 },
      attainmentShare: 0.9,
    },
  });
  const agents = Array.from(
    { length: Math.ceil(instances / INSTANCES_PER_AGENT) },
    (_, i) => new FakeAgent(i, "stream", Math.min(INSTANCES_PER_AGENT, instances - i * INSTANCES_PER_AGENT)),
  );
  for (const agent of agents) await client.json("POST", "/agent/v1/register", agent.registration());
  client.close();
  return agents;
}

async function timed(client: Client, path: string): Promise<number> {
  const startedAt = performance.now();
  const answer = await client.send("GET", path);
  if (answer.status !== 200) throw new Error(`GET ${path}: ${answer.status} ${answer.text}`);
  return performance.now() - startedAt;
}

async function seriesTimes(client: Client, instance: string): Promise<{ took: Spread; points: number }> {
  const path = `/v1/instances/${instance}/series`;
  const took: number[] = [];
  for (let n = 0; n < READS; n += 1) took.push(await timed(client, path));
  const { points } = await client.json<{ points: unknown[] }>("GET", path);
  return { took: spread(took), points: points.length };
}

function say(what: string, { cpuShare, postgresCpuShare, rssMb }: Usage): void {
  const postgres = postgresCpuShare === null ? "" : `, Postgres ${(100 * postgresCpuShare).toFixed(0)} %`;
  console.log(
    `  ${what}: controller ${(100 * cpuShare).toFixed(0)} % of a core${postgres}, ${rssMb.toFixed(0)} MB`,
  );
}

function ms(value: number): string {
  return `${value.toFixed(0)} ms`;
}
