/** Drives engine-sim over its control socket (docs/control-socket.md). */
import { allocation } from "@fulcrum/contracts/primitives.js";
import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";
import { z } from "zod";
import { ControlConnection } from "./control-connection.js";
import type {
  ActualState,
  DriverCapabilities,
  PartitionDriver,
  Plan,
  SwitchAt,
  Verdict,
} from "../partition-driver.js";
import { DriverError } from "../partition-driver.js";
import { judge, quantise } from "./quantise.js";

const generation = z.int().min(0);
const flatAllocation = z
  .object({ prefillSmPct: z.number(), decodeSmPct: z.number(), kvQuotaPct: z.number() })
  .transform((flat) => ({
    split: { prefillSmPct: flat.prefillSmPct, decodeSmPct: flat.decodeSmPct },
    kvQuotaPct: flat.kvQuotaPct,
  }))
  .pipe(allocation);

const stateAnswer = z.object({
  state: z.object({
    generation,
    phase: z.enum(["steady", "preparing", "switching"]),
    delivered: flatAllocation,
    asked: flatAllocation,
    prepared: z.object({ generation, ready: z.boolean() }).nullable(),
    bootId: z.string().min(1).max(200),
    iterations: z
      .object({ prefill: z.int().min(0), decode: z.int().min(0) })
      .nullable()
      .default(null),
  }),
});

const probeAnswer = z.object({
  capabilities: z.object({
    live: z.boolean(),
    minSmPct: z.number().min(1).max(100),
    maxSmPct: z.number().min(1).max(100),
    maxSumPct: z.number().min(2).max(200),
    granularityPct: z.number().gt(0).max(50),
    smCount: z.int().min(1).max(10_000),
    smPerTpc: z.int().min(1).max(64),
    minKvQuotaPct: z.number().min(1).max(100),
    maxKvQuotaPct: z.number().min(1).max(100),
    prepareMs: z.number().min(0).max(3_600_000),
  }),
});

const refusal = z.object({ ok: z.literal(false), code: z.string().min(1).max(63), message: z.string() });

/** What asking again cannot cure. */
const FINAL_CODES: ReadonlySet<string> = new Set(["stale_generation", "out_of_bounds", "bad_request"]);

export interface EngineSimDriverOptions {
  readonly socket: string;
  readonly timeoutMs: number;
}

export class EngineSimDriver implements PartitionDriver {
  private readonly connection: ControlConnection;

  constructor(options: EngineSimDriverOptions) {
    this.connection = new ControlConnection(options.socket, options.timeoutMs);
  }

  async probe(): Promise<DriverCapabilities> {
    const { capabilities: c } = await this.ask({ op: "probe" }, probeAnswer);
    return {
      driver: "engine-sim",
      live: c.live,
      limits: {
        minSmPct: c.minSmPct,
        maxSmPct: c.maxSmPct,
        maxSumPct: c.maxSumPct,
        granularityPct: c.granularityPct,
        minKvQuotaPct: c.minKvQuotaPct,
        maxKvQuotaPct: c.maxKvQuotaPct,
      },
      prepareMs: c.prepareMs,
      smCount: c.smCount,
      roundingPct: Math.max(c.granularityPct, (100 * c.smPerTpc) / c.smCount),
    };
  }

  async observe(): Promise<ActualState> {
    return this.state({ op: "observe" });
  }

  plan(target: GeneratedAllocation, capabilities: DriverCapabilities): Plan {
    return quantise(target, capabilities);
  }

  async prepare(plan: Plan): Promise<ActualState> {
    return this.state({ op: "prepare", generation: plan.generation, ...flat(plan.asked) });
  }

  async commit(plan: Plan, switchAt: SwitchAt | null = null): Promise<ActualState> {
    const at = switchAt === null ? {} : { at: switchAt };
    return this.state({ op: "commit", generation: plan.generation, ...at });
  }

  async verify(plan: Plan): Promise<Verdict> {
    const actual = await this.observe();
    if (actual.phase === "switching" || actual.generation < plan.generation) {
      return { kind: "pending", why: `generation ${actual.generation} runs, ${actual.phase}` };
    }
    if (actual.generation > plan.generation) {
      return { kind: "not_delivered", message: `generation ${actual.generation} runs` };
    }
    return judge(plan, actual.delivered);
  }

  async rollback(generation: number): Promise<void> {
    await this.state({ op: "abort", generation });
  }

  close(): void {
    this.connection.close();
  }

  private async state(request: Readonly<Record<string, unknown>>): Promise<ActualState> {
    return (await this.ask(request, stateAnswer)).state;
  }

  private async ask<T>(request: Readonly<Record<string, unknown>>, shape: z.ZodType<T>): Promise<T> {
    const answer = await this.connection.request(request);
    if (answer["ok"] !== true) {
      const { code, message } = check(refusal, answer);
      throw new DriverError(code, message, !FINAL_CODES.has(code));
    }
    return check(shape, answer);
  }
}

function check<T>(shape: z.ZodType<T>, answer: unknown): T {
  const parsed = shape.safeParse(answer);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const message = `the engine's answer is not valid: ${issue?.path.join(".")}: ${issue?.message}`;
  throw new DriverError("bad_answer", message, true);
}

function flat({ split, kvQuotaPct }: Allocation): Record<string, number> {
  return { prefillSmPct: split.prefillSmPct, decodeSmPct: split.decodeSmPct, kvQuotaPct };
}
