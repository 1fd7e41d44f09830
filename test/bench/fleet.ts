/** Made-up agents that speak the agent API: what they register and report. */
import type { Assignment, Registration, ReportAnswer } from "@fulcrum/contracts/agent-api.js";
import type { Allocation, Window } from "@fulcrum/core/nouns.js";
import { Agent, request as httpRequest } from "node:http";

export const INSTANCES_PER_AGENT = 16;

const RUNNING: Allocation = { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 100 };

/** SGLang's default bounds in milliseconds. */
const TTFT_BOUNDS = [
  100, 200, 400, 600, 800, 1e3, 2e3, 4e3, 6e3, 8e3, 1e4, 2e4, 4e4, 6e4, 8e4, 1e5, 2e5, 4e5,
];
const ITL_BOUNDS = [
  2, 4, 6, 8, 10, 15, 20, 25, 30, 35, 40, 60, 80, 100, 200, 400, 600, 800, 1e3, 2e3, 4e3, 6e3, 8e3,
];

export class Client {
  private readonly agent: Agent;

  constructor(
    private readonly url: string,
    private readonly key: string,
    connections: number,
  ) {
    this.agent = new Agent({ keepAlive: true, maxSockets: connections });
  }

  /** Status and text of the answer. */
  send(
    method: string,
    path: string,
    body?: string,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const sent = httpRequest(
        this.url + path,
        {
          method,
          agent: this.agent,
          headers: {
            authorization: `Bearer ${this.key}`,
            ...(body === undefined
              ? {}
              : { "content-type": "application/json", "content-length": Buffer.byteLength(body) }),
            ...headers,
          },
        },
        (answer) => {
          const chunks: Buffer[] = [];
          answer.on("data", (chunk: Buffer) => chunks.push(chunk));
          answer.on("end", () =>
            resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") }),
          );
          answer.on("error", reject);
        },
      );
      sent.on("error", reject);
      sent.end(body);
    });
  }

  async json<T>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<T> {
    const answer = await this.send(
      method,
      path,
      body === undefined ? undefined : JSON.stringify(body),
      headers,
    );
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return JSON.parse(answer.text) as T;
  }

  close(): void {
    this.agent.destroy();
  }
}

/** One agent with its instances; each report brings one new window for each of them. */
export class FakeAgent {
  readonly name: string;
  readonly instances: readonly string[];
  private seq = 0;
  private readonly running = new Map<string, Assignment>();

  constructor(
    index: number,
    readonly pool: string,
    instances = INSTANCES_PER_AGENT,
  ) {
    this.name = `bench-${pool}-${index}`;
    this.instances = Array.from({ length: instances }, (_, i) => `${this.name}-${i}`);
  }

  registration(): Registration {
    return {
      agent: this.name,
      node: this.name,
      agentVersion: "bench",
      sentAtMs: Date.now(),
      instances: this.instances.map((instance) => ({
        instance,
        pool: this.pool,
        ranks: [0],
        rankCount: 1,
        capabilities: {
          driver: "engine-sim",
          live: true,
          limits: {
            minSmPct: 5,
            maxSmPct: 100,
            maxSumPct: 200,
            granularityPct: 1,
            minKvQuotaPct: 5,
            maxKvQuotaPct: 100,
          },
          prepareMs: 0,
          smCount: 108,
        },
        generation: 0,
        running: RUNNING,
      })),
    };
  }

  /** A report's body; about 0.7 KB a window. */
  report(): string {
    this.seq += 1;
    const nowMs = Date.now();
    const instances = this.instances.map((instance) => {
      const assignment = this.running.get(instance);
      const generation = assignment?.generation ?? 0;
      return {
        instance,
        windows: [windowAt(this.seq, nowMs, generation)],
        observed: { ...(assignment?.allocation ?? RUNNING), generation },
        conditions: [],
      };
    });
    return JSON.stringify({ agent: this.name, sentAtMs: nowMs, instances });
  }

  /** Takes what an answer assigns; returns what is new. */
  take(answer: ReportAnswer): Assignment[] {
    const news = answer.assignments.filter(
      (one) => one.generation > (this.running.get(one.instance)?.generation ?? 0),
    );
    for (const one of news) this.running.set(one.instance, one);
    return news;
  }
}

function windowAt(seq: number, nowMs: number, generation: number): Window {
  const histogram = (boundsMs: readonly number[], peak: number) => ({
    boundsMs,
    counts: Array.from({ length: boundsMs.length + 1 }, (_, i) =>
      Math.max(0, 12 - 3 * Math.abs(i - peak) + (seq % 3)),
    ),
    sumMs: 12_345.678,
  });
  return {
    seq,
    startAtMs: nowMs - 1_000,
    endAtMs: nowMs,
    durationMs: 1_000,
    generation,
    arrivals: 12,
    promptTokens: 3_024,
    finished: 11,
    outputTokens: 3_628,
    ttft: histogram(TTFT_BOUNDS, 2),
    tpot: histogram(ITL_BOUNDS, 9),
    queue: { prefillWaiting: 1, decodeRunning: 84 },
    kv: { totalTokens: 440_000, usedTokens: 55_000 + (seq % 100), preemptions: 0 },
    busy: { prefillShare: 0.24, decodeShare: 0.97 },
  };
}
