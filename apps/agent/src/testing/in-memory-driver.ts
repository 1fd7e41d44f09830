import type { GeneratedAllocation } from "@fulcrum/core/nouns.js";
import { WIDEST_LIMITS } from "@fulcrum/core/nouns.js";
import type {
  ActualState,
  DriverCapabilities,
  PartitionDriver,
  Plan,
  SwitchAt,
  Verdict,
} from "../partition-driver.js";
import { DriverError } from "../partition-driver.js";
import { judge, quantise } from "../driver/quantise.js";
import { type EngineModel, MODEL_SM_COUNT, MODEL_SM_PER_TPC, Refusal } from "./engine-model.js";

/** Calls the engine model directly; `silent` is an engine that is not there. */
export class InMemoryDriver implements PartitionDriver {
  silent = false;

  constructor(private readonly engine: EngineModel) {}

  probe(): Promise<DriverCapabilities> {
    return this.ask(() => ({
      driver: "in-memory",
      live: true,
      limits: WIDEST_LIMITS,
      prepareMs: 0,
      smCount: MODEL_SM_COUNT,
      roundingPct: (100 * MODEL_SM_PER_TPC) / MODEL_SM_COUNT,
    }));
  }

  observe(): Promise<ActualState> {
    return this.ask(() => this.engine.observe());
  }

  plan(target: GeneratedAllocation, capabilities: DriverCapabilities): Plan {
    return quantise(target, capabilities);
  }

  prepare(plan: Plan): Promise<ActualState> {
    return this.ask(() => this.engine.prepare(plan.generation, plan.asked));
  }

  commit(plan: Plan, switchAt: SwitchAt | null = null): Promise<ActualState> {
    return this.ask(() => this.engine.commit(plan.generation, switchAt));
  }

  async verify(plan: Plan): Promise<Verdict> {
    const actual = await this.observe();
    if (actual.phase === "switching" || actual.generation < plan.generation) {
      return { kind: "pending", why: `generation ${actual.generation} runs, ${actual.phase}` };
    }
    if (actual.generation > plan.generation) {
      return { kind: "not_delivered", message: `generation ${actual.generation} runs` };
    }
    if (this.engine.unreadable) return { kind: "unverified", message: "nothing tells what runs" };
    return judge(plan, actual.delivered);
  }

  async rollback(generation: number): Promise<void> {
    await this.ask(() => this.engine.abort(generation));
  }

  close(): void {
    this.silent = true;
  }

  private async ask<T>(act: () => T): Promise<T> {
    if (this.silent) throw new DriverError("unreachable", "the engine is not there", true);
    try {
      return act();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const final = error.code === "stale_generation" || error.code === "out_of_bounds";
      throw new DriverError(error.code, error.message, !final);
    }
  }
}
