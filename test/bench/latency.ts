import type { Ack, Assignment, ReportAnswer } from "@fulcrum/contracts/agent-api.js";
import { Client, type FakeAgent } from "./fleet.js";
import type { ServerProcess } from "./server-process.js";

export interface Spread {
  readonly n: number;
  readonly p50: number;
  readonly p99: number;
}

export interface Latency {
  readonly assigned: Spread;
  readonly all: Spread;
  readonly rssMb: readonly number[];
  readonly cpuShare: number;
}

const CHANGE_EVERY_MS = 10_000;
const RSS_EVERY_MS = 3_000;

/** Every agent reports once a second, each at its own moment; time is taken from before the send to the parsed answer. */
export async function measureLatency(
  server: ServerProcess,
  admin: Client,
  key: string,
  agents: readonly FakeAgent[],
  seconds: number,
): Promise<Latency> {
  const client = new Client(server.url, key, agents.length * 2);
  const assigned: number[] = [];
  const all: number[] = [];
  const rssMb: number[] = [];
  const endsAt = performance.now() + seconds * 1_000;
  const cpuBefore = server.cpuS() ?? 0;
  const changing = changeTargets(
    admin,
    agents.map(({ pool }) => pool),
    endsAt,
  );
  const watching = watchMemory(server, rssMb, endsAt);
  await Promise.all(
    agents.map(async (agent, index) => {
      await pause((index * 1_000) / agents.length);
      while (performance.now() < endsAt) {
        const startedAt = performance.now();
        const answer = await client.send("POST", "/agent/v1/report", agent.report());
        if (answer.status !== 200) throw new Error(`report refused: ${answer.status} ${answer.text}`);
        const news = agent.take(JSON.parse(answer.text) as ReportAnswer);
        const tookMs = performance.now() - startedAt;
        all.push(tookMs);
        if (news.length > 0) assigned.push(tookMs);
        if (news.length > 0) await acknowledge(client, agent, news);
        await pause(1_000 - (performance.now() - startedAt));
      }
    }),
  );
  await changing;
  await watching;
  client.close();
  return {
    assigned: spread(assigned),
    all: spread(all),
    rssMb,
    cpuShare: ((server.cpuS() ?? 0) - cpuBefore) / seconds,
  };
}

/** One pool after the other, so that each changes every CHANGE_EVERY_MS. */
async function changeTargets(admin: Client, pools: readonly string[], endsAt: number): Promise<void> {
  for (let turn = 0; performance.now() < endsAt; turn += 1) {
    const round = Math.floor(turn / pools.length);
    const split =
      round % 2 === 0 ? { prefillSmPct: 60, decodeSmPct: 40 } : { prefillSmPct: 50, decodeSmPct: 50 };
    const policy = { name: "static", params: { allocation: { split, kvQuotaPct: 100 } } };
    await admin.json("PATCH", `/v1/pools/${pools[turn % pools.length]}`, { policy }, { "if-match": "*" });
    await pause(CHANGE_EVERY_MS / pools.length);
  }
}

async function watchMemory(server: ServerProcess, rssMb: number[], endsAt: number): Promise<void> {
  while (performance.now() < endsAt) {
    rssMb.push((server.rssBytes() ?? 0) / 1_048_576);
    await pause(Math.min(RSS_EVERY_MS, Math.max(0, endsAt - performance.now())));
  }
}

async function acknowledge(client: Client, agent: FakeAgent, news: readonly Assignment[]): Promise<void> {
  const acks: Ack[] = news.map(({ instance, generation, attempt, allocation }) => ({
    instance,
    rank: 0,
    generation,
    attempt,
    step: "verified",
    atMs: Date.now(),
    delivered: allocation,
    failure: null,
  }));
  await client.json("POST", "/agent/v1/acks", { agent: agent.name, sentAtMs: Date.now(), acks });
}

export function spread(samples: number[]): Spread {
  const sorted = samples.sort((a, b) => a - b);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { n: sorted.length, p50: at(0.5), p99: at(0.99) };
}

function pause(waitMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, Math.max(0, waitMs));
  });
}
