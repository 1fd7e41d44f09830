/** A small fleet with a past: what an operator finds at night. One instance misses its TTFT and was moved twice. */
import { histogramAt } from "@fulcrum/core/fixtures.js";
import type { Allocation, Histogram, SloTarget, Window } from "@fulcrum/core/nouns.js";

import type { TestController } from "../../support/controller.js";
import { evaluate } from "../../support/evaluate.js";
import { TestAgent } from "../../support/test-agent.js";
import {
  instanceReport,
  poolBody,
  registrationEntry,
  report,
  SLO,
  splitAt,
  wireWindow,
  WORK,
} from "../../support/wire.js";

/** Within the longest control interval, so that only this scene says when something is decided. */
const CONTROL_INTERVAL_MS = 600_000;
const PAST_MS = 570_000;
const WINDOW_MS = 5_000;
const WINDOWS_AT_ONCE = 32;

const FEEDBACK = { name: "feedback", params: { bothMissed: "worst-first", minBenefitShare: 0 } } as const;
const GUARDS = { dwellMs: 0, minSamples: 5, flapBudget: 60 };

/** A model to begin with, so that the first decision has something to weigh splits by. */
const SEARCH = {
  name: "search",
  params: {
    prior: {
      prefill: { kernelMs: [2, 0.09, 0], engineMs: 1, sensitivity: 0.8 },
      decode: { kernelMs: [9, 0.12, 0.0002], engineMs: 2, sensitivity: 0.4 },
    },
  },
} as const;
const WITH_BATCH: SloTarget = {
  ...SLO,
  classes: [{ ...SLO, name: "batch", ttft: { percentile: 0.9, boundMs: 2_000 }, attainmentShare: 0.8 }],
};

/** Latencies at a time, `share` of the past gone by. */
type Story = (share: number) => {
  readonly ttftMs: number;
  readonly tpotMs: number;
  readonly arrivals: number;
};

interface Actor {
  readonly name: string;
  readonly pool: string;
  readonly running: Allocation;
  readonly story: Story;
  /** Where in the past it is decided on: shares of it. */
  readonly decidedAt: readonly number[];
  /** The engine tells what its workers did. */
  readonly tellsWork?: boolean;
}

/** Most samples well below, the rest at `ms`: its p90 reads `ms`. */
function spreadAround(ms: number, count: number): Histogram {
  const fast = Math.round(count * 0.6);
  const low = histogramAt(ms * 0.45, fast);
  const high = histogramAt(ms, count - fast);
  return {
    ...high,
    counts: high.counts.map((one, index) => one + (low.counts[index] ?? 0)),
    sumMs: low.sumMs + high.sumMs,
  };
}

const wave = (share: number, size: number) => 1 + size * Math.sin(share * 19);

const ACTORS: readonly Actor[] = [
  {
    name: "chat-a",
    pool: "chat",
    running: splitAt(50),
    story: (share) => ({ ttftMs: 180 * wave(share, 0.2), tpotMs: 62, arrivals: 40 }),
    decidedAt: [0.5, 1],
  },
  {
    name: "chat-b",
    pool: "chat",
    running: splitAt(30),
    story: (share) =>
      share < 0.35
        ? { ttftMs: 160 * wave(share, 0.2), tpotMs: 52, arrivals: 40 }
        : { ttftMs: (share < 0.75 ? 1_300 : 620) * wave(share, 0.25), tpotMs: 66, arrivals: 70 },
    decidedAt: [0.3, 0.45, 0.7, 1],
  },
  {
    name: "chat-c",
    pool: "chat",
    running: splitAt(55),
    story: (share) => ({ ttftMs: 210 * wave(share, 0.1), tpotMs: 71, arrivals: 44 }),
    decidedAt: [1],
  },
  {
    name: "long-a",
    pool: "long-prompts",
    running: splitAt(40),
    story: (share) => ({ ttftMs: 1_500 * wave(share, 0.1), tpotMs: 58, arrivals: 22 }),
    decidedAt: [1],
  },
  {
    name: "night-a",
    pool: "nightly",
    running: splitAt(50),
    story: (share) => ({ ttftMs: 240, tpotMs: 130 * wave(share, 0.08), arrivals: 30 }),
    decidedAt: [1],
  },
  {
    name: "mixed-a",
    pool: "mixed",
    running: splitAt(30),
    story: (share) => ({ ttftMs: 190 * wave(share, 0.1), tpotMs: 57, arrivals: 50 }),
    decidedAt: [0.5, 1],
    tellsWork: true,
  },
];

export interface Scene {
  readonly agents: ReadonlyMap<string, TestAgent>;
  /** A window of now from every instance: none is silent. */
  refresh(): Promise<void>;
  /** One more window of the instance, now. */
  window(instance: string, over: Partial<Window>): Promise<void>;
}

/** Tells the whole past of the fleet to the controller. */
export async function stageFleet(controller: TestController): Promise<Scene> {
  const settings = { policy: FEEDBACK, guards: GUARDS, controlIntervalMs: CONTROL_INTERVAL_MS } as const;
  await controller.ask("createPool", {
    body: poolBody("chat", { ...settings, mode: "enforce", autoRollback: false }),
  });
  await controller.ask("createPool", {
    body: poolBody("long-prompts", {
      ...settings,
      mode: "recommend",
      approval: { required: 2, expireMs: 86_400_000 },
    }),
  });
  await controller.ask("createPool", { body: poolBody("nightly", { ...settings, mode: "observe" }) });
  await controller.ask("createPool", {
    body: poolBody("mixed", { ...settings, policy: SEARCH, mode: "observe", slo: WITH_BATCH }),
  });
  const agents = new Map<string, TestAgent>();
  const players = ACTORS.map((actor) => new Player(controller, actor, agents));
  const nowMs = Date.now();
  for (const player of players) await player.live(nowMs);
  return {
    agents,
    refresh: async () => {
      for (const player of players) await player.now();
    },
    window: (instance, over) => players.find((player) => player.name === instance)!.report([over]),
  };
}

/** An engine with its agent, from its first window to now. */
class Player {
  private readonly agent: TestAgent;
  private seq = 0;
  private running: Allocation;
  private generation = 0;

  constructor(
    private readonly controller: TestController,
    private readonly actor: Actor,
    agents: Map<string, TestAgent>,
  ) {
    this.running = actor.running;
    this.agent = new TestAgent(controller, `node-${actor.name}`);
    agents.set(actor.name, this.agent);
  }

  get name(): string {
    return this.actor.name;
  }

  async live(nowMs: number): Promise<void> {
    const { actor } = this;
    const beginMs = nowMs - PAST_MS;
    await this.agent.register(registrationEntry(actor.name, actor.pool, { running: actor.running }));
    // Decided on before any window: from now on it is due only when this says so.
    await evaluate(this.controller, actor.name, beginMs);
    let toldMs = beginMs;
    for (const share of actor.decidedAt) {
      const untilMs = beginMs + share * PAST_MS;
      await this.tell(toldMs, untilMs, beginMs);
      toldMs = untilMs;
      await evaluate(this.controller, actor.name, untilMs);
      await this.follow(untilMs);
    }
  }

  now(): Promise<void> {
    return this.report([this.windowAt(1, Date.now())]);
  }

  async report(windows: readonly Partial<Window>[]): Promise<void> {
    const told = windows.map((over) => {
      this.seq += 1;
      return wireWindow(this.seq, { generation: this.generation, ...over });
    });
    const observed = { ...this.running, generation: this.generation };
    await this.controller.ask("report", {
      body: report(this.agent.name, [instanceReport(this.name, told, { observed })]),
      key: await this.agent.key(),
    });
  }

  private async tell(fromMs: number, toMs: number, beginMs: number): Promise<void> {
    const windows: Partial<Window>[] = [];
    for (let endAtMs = fromMs + WINDOW_MS; endAtMs <= toMs; endAtMs += WINDOW_MS)
      windows.push(this.windowAt((endAtMs - beginMs) / PAST_MS, Math.round(endAtMs)));
    for (let index = 0; index < windows.length; index += WINDOWS_AT_ONCE)
      await this.report(windows.slice(index, index + WINDOWS_AT_ONCE));
  }

  private windowAt(share: number, endAtMs: number): Partial<Window> {
    const { ttftMs, tpotMs, arrivals } = this.actor.story(share);
    return {
      endAtMs,
      startAtMs: endAtMs - WINDOW_MS,
      arrivals,
      finished: arrivals,
      promptTokens: arrivals * 260,
      outputTokens: arrivals * 240,
      ttft: spreadAround(ttftMs, arrivals),
      tpot: spreadAround(tpotMs, arrivals),
      queue: { prefillWaiting: Math.round(ttftMs / 120), decodeRunning: arrivals * 2 },
      kv: { totalTokens: 440_000, usedTokens: 90_000 + arrivals * 3_000, preemptions: 0 },
      ...(this.actor.tellsWork ? { work: WORK } : {}),
    };
  }

  /** Carries out what was decided, as if it had been at `atMs`: acknowledgements are stamped when they arrive. */
  private async follow(atMs: number): Promise<void> {
    const instance = await this.controller.ask("getInstance", { params: { instance: this.name } });
    const { generation, ...allocation } = instance.desired;
    if (generation === this.generation) return;
    await this.agent.carryOut(this.name, generation, { delivered: allocation });
    this.generation = generation;
    this.running = allocation;
    const changes = [
      `UPDATE reconfiguration_steps s SET at = $2::timestamptz + (s.at - r.created_at)
       FROM reconfigurations r, instances i WHERE r.id = s.reconfiguration_id AND i.id = r.instance_id AND i.name = $1
         AND r.generation = $3`,
      `UPDATE reconfigurations r SET ended_at = $2::timestamptz + (r.ended_at - r.created_at), created_at = $2
       FROM instances i WHERE i.id = r.instance_id AND i.name = $1 AND r.generation = $3`,
      "UPDATE instances SET changed_at = $2, issued_at = $2 WHERE name = $1 AND generation = $3",
    ];
    for (const change of changes)
      await this.controller.source.query(change, [this.name, new Date(atMs), generation]);
  }
}
