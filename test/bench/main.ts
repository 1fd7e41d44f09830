/**
 * `npm run bench`: what the controller can take on this machine, beside a bare Fastify route in the same run.
 * Prints what it measures; judges nothing. `--json FILE` writes the figures, `--seconds N` sets the phases.
 * `npm run bench -- kv-pool` measures the block pool instead; `--long` adds its long stress run. `npm run bench --
 * switching` moves engine-sim's processes under load: `--switches 100`, `--naive-switches 5`, `--prepare-s 10`. `npm run
 * bench -- fleet-stream` reads the fleet's page and listens to its events: `--instances 1000`, `--seconds 20`. `npm run
 * bench -- dashboard` scrolls that page in a real Chromium. `npm run bench -- holds` measures what holds cost a decision.
 */
import { randomBytes } from "node:crypto";
import { rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loadWorld } from "@fulcrum/cli/evaluate/inputs.js";
import { measureSpeed, SPEED_RATE_PER_S, SPEED_TARGET } from "@fulcrum/cli/simulator-check/speed.js";
import { temporaryDataDir } from "@fulcrum/embedded/default-data-dir.js";
import { startPostgres } from "@fulcrum/embedded/postgres.js";
import { dashboardBench } from "./dashboard.js";
import { measureDecide } from "./decide-time.js";
import { Client, FakeAgent } from "./fleet.js";
import { fleetStreamBench } from "./fleet-stream.js";
import { holdsBench } from "./holds.js";
import { kvPoolBench } from "./kv-pool.js";
import { measureLatency } from "./latency.js";
import { type ServerProcess, startServer } from "./server-process.js";
import { switchingBench } from "./switching.js";
import { measureThroughput, type Throughput } from "./throughput.js";

const CONTROLLER = fileURLToPath(new URL("../../../apps/controller/dist/main.js", import.meta.url));
const BARE = fileURLToPath(new URL("./bare-server.js", import.meta.url));
const ROUNDS = 3;

if (process.argv[2] === "kv-pool") {
  await kvPoolBench(process.argv.slice(3));
  process.exit(0);
}
if (process.argv[2] === "holds") {
  await holdsBench();
  process.exit(0);
}
if (process.argv[2] === "dashboard") {
  await dashboardBench(process.argv.slice(3));
  process.exit(0);
}
if (process.argv[2] === "fleet-stream") {
  await fleetStreamBench(process.argv.slice(3));
  process.exit(0);
}
if (process.argv[2] === "switching") {
  await switchingBench(process.argv.slice(3));
  process.exit(0);
}

const { values } = parseArgs({
  options: { json: { type: "string" }, seconds: { type: "string", default: "10" } },
});
const seconds = Number(values.seconds);
if (!(seconds >= 1 && seconds <= 600)) throw new Error(`--seconds must be 1..600, got ${values.seconds}`);

const dataDir = await temporaryDataDir();
const postgres = await startPostgres({ dataDir });
const adminKey = `fk_${randomBytes(32).toString("base64url")}`;
const bare = await startServer(BARE, [], {});
const controller = await startServer(CONTROLLER, ["--exit-with-parent"], {
  DATABASE_URL: postgres.url,
  PORT: "0",
  FULCRUM_BOOTSTRAP_ADMIN_KEY: adminKey,
  LOG_LEVEL: "warn",
});
try {
  const figures = await measure(bare, controller, adminKey);
  if (values.json) await writeFile(values.json, `${JSON.stringify(figures, null, 2)}\n`);
} finally {
  await controller.stop();
  await bare.stop();
  await postgres.stop();
  await rm(dataDir, { recursive: true, force: true });
}

async function measure(bareServer: ServerProcess, controllerServer: ServerProcess, key: string) {
  const admin = new Client(controllerServer.url, key, 4);
  const { key: agentKey } = await admin.json<{ key: string }>("POST", "/v1/keys", {
    name: "bench",
    role: "agent",
  });
  // Latency first: its memory is that of a controller that has done nothing else.
  const latency = await latencyPhase(controllerServer, admin, agentKey);
  const throughput = await throughputPhase(bareServer, controllerServer, admin, agentKey);
  const decideUs = measureDecide();
  console.log(
    `\ndecide(): p50 ${decideUs.p50.toFixed(0)} us, p99 ${decideUs.p99.toFixed(0)} us over ${decideUs.n} calls (first target < 200 us)`,
  );
  return { latency, ...throughput, decideUs, simulator: simulatorPhase() };
}

/** One core, no processes: the bundled 8B A100 profile on bundled chat lengths. */
function simulatorPhase() {
  const { profile, lengths } = loadWorld({ profile: null, dataDir: null });
  if (lengths.chat === undefined) throw new Error("the bundled chat lengths are missing");
  const speed = measureSpeed(profile, lengths.chat.source, () => performance.now());
  console.log(
    `\nsimulator, ${profile.name} at ${SPEED_RATE_PER_S} requests/s: ${speed.timesRealTime.toFixed(0)} simulated seconds per second of one core (first target ${SPEED_TARGET})`,
  );
  return speed;
}

async function latencyPhase(controllerServer: ServerProcess, admin: Client, agentKey: string) {
  const latencySeconds = Math.max(20, seconds * 6);
  console.log(
    `\n512 instances at one window a second for ${latencySeconds} s; every 10 s each gets another target split, an agent's 16 at a time`,
  );
  const fleet: FakeAgent[] = [];
  for (let i = 0; i < 32; i += 1) {
    const client = new Client(controllerServer.url, agentKey, 1);
    fleet.push(...(await registerAgents(admin, client, `latency-${i}`, 1)));
  }
  const latency = await measureLatency(controllerServer, admin, agentKey, fleet, latencySeconds);
  const { assigned, all, rssMb, cpuShare } = latency;
  console.log(
    `  report -> assignment (reports that brought one): n ${assigned.n}, p50 ${ms(assigned.p50)}, p99 ${ms(assigned.p99)} (first target p99 < 50 ms)\n` +
      `  report -> answer (all): n ${all.n}, p50 ${ms(all.p50)}, p99 ${ms(all.p99)}\n` +
      `  controller memory, every 3 s: ${rssMb.map((mb) => mb.toFixed(0)).join(" ")} MB (first target: flat, < 300); CPU ${(100 * cpuShare).toFixed(0)} % of a core`,
  );
  return latency;
}

async function throughputPhase(
  bareServer: ServerProcess,
  controllerServer: ServerProcess,
  admin: Client,
  agentKey: string,
) {
  console.log(
    `\nReports: 16 instances each, one window of about 0.7 KB per instance, every window stored (${ROUNDS} rounds of ${seconds} s, in turn)`,
  );
  const agents = await registerAgents(admin, new Client(controllerServer.url, agentKey, 8), "throughput", 16);
  const rounds: { bare: Throughput; controller: Throughput; ratio: number }[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const bareRun = await measureThroughput(bareServer, agentKey, agents, seconds);
    const ours = await measureThroughput(controllerServer, agentKey, agents, seconds);
    const ratio = ours.reportsPerS / bareRun.reportsPerS;
    rounds.push({ bare: bareRun, controller: ours, ratio });
    console.log(`  bare route ${line(bareRun)}\n  controller ${line(ours)}   ratio ${ratio.toFixed(2)}`);
  }
  const ratio = median(rounds.map((round) => round.ratio));
  console.log(`  median ratio ${ratio.toFixed(2)} (first target 0.5)`);
  return { rounds, ratio };
}

async function registerAgents(
  admin: Client,
  client: Client,
  pool: string,
  count: number,
): Promise<FakeAgent[]> {
  await admin.json("POST", "/v1/pools", {
    name: pool,
    model: "bench",
    mode: "enforce",
    slo: {
      ttft: { percentile: 0.9, boundMs: 400 },
      tpot: { percentile: 0.9, boundMs: 60 },
      attainmentShare: 0.9,
    },
    policy: {
      name: "static",
      params: { allocation: { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 100 } },
    },
    controlIntervalMs: 1_000,
    // At many reports a second per agent this is as many windows per signal as 30 s hold at one a second.
    lookbackMs: pool === "throughput" ? 1_000 : 30_000,
  });
  const agents = Array.from({ length: count }, (_, index) => new FakeAgent(index, pool));
  for (const agent of agents) await client.json("POST", "/agent/v1/register", agent.registration());
  client.close();
  return agents;
}

function line(run: Throughput): string {
  const cpu = run.cpuUsPerReport === null ? "" : `, ${run.cpuUsPerReport.toFixed(0)} us of its CPU each`;
  return `${run.reportsPerS.toFixed(0)} reports/s (${(run.reportsPerS * 16).toFixed(0)} windows/s)${cpu}`;
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`;
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}
