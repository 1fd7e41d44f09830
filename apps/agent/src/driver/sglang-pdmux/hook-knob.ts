/** Selects one of the groups that an engine made at its start, through a hook that its owner adds (docs/engines.md). */
import type { Allocation, GeneratedAllocation } from "@fulcrum/core/nouns.js";
import { z } from "zod";
import { DriverError, type DriverCapabilities, type Plan, type Verdict } from "../../partition-driver.js";
import { judge } from "../quantise.js";
import { askJson } from "../staged/json-request.js";
import { type Applied, type Knob, type Move, type Reading, toldGeneration } from "../staged/knob.js";
import type { PdmuxHookConfig } from "./pdmux-config.js";
import { planGroup, type SmGroup, smLimits, splitOfGroup, type SmUnits } from "./sm-groups.js";

/** Every number that the engine tells is bounded by the GPU: a share above 100 % is no share. */
const hookState = (smCount: number) => {
  const sms = z.int().min(0).max(smCount);
  const group = z.tuple([sms, sms]).refine(([prefill, decode]) => prefill + decode === smCount, {
    error: ({ input }) =>
      `must sum to driver.smCount ${smCount}, got ${Array.isArray(input) ? input.join(" + ") : "no pair"}`,
  });
  return z
    .object({
      bootId: z.string().min(1).max(150),
      /** Of the selection in force; 0: the engine chooses by its decode batch. */
      generation: toldGeneration,
      index: z.int().min(0).max(255),
      prefillSms: sms,
      decodeSms: sms,
      /** Every group that can be selected; the first and the last are the engine's own, all for one phase. */
      groups: z.array(group).min(3).max(256),
    })
    .refine(({ index, groups }) => index < groups.length, { path: ["index"], error: "must name a group" });
};

type HookState = z.infer<ReturnType<typeof hookState>>;

const OPEN_QUOTA_PCT = 100;

export class PdmuxHookKnob implements Knob {
  readonly appliesSlowly = false;
  private groups: readonly SmGroup[] = [];
  private readonly shape: z.ZodType<HookState>;

  constructor(
    private readonly config: PdmuxHookConfig,
    private readonly units: SmUnits,
  ) {
    this.shape = hookState(units.smCount);
  }

  async probe(): Promise<DriverCapabilities> {
    await this.get();
    const { smCount } = this.units;
    const parts = this.selectable().flatMap(({ group }) => [...group]);
    const limits = {
      ...smLimits(this.units),
      minSmPct: Math.max(1, (100 * Math.min(...parts)) / smCount),
      maxSmPct: (100 * Math.max(...parts)) / smCount,
    };
    return { driver: "sglang-pdmux", live: true, limits, prepareMs: 0, smCount, roundingPct: 0 };
  }

  async read(applied: Applied | null): Promise<Reading> {
    const { bootId, generation, prefillSms, decodeSms } = await this.get();
    const delivered = this.allocationOf([prefillSms, decodeSms]);
    if (applied === null) return { bootId, generation, delivered };
    const { kind } = judge({ ...applied, roundingPct: 0, adjusted: [] }, delivered);
    return { bootId, generation, delivered, runs: generation === applied.generation && kind === "delivered" };
  }

  plan(target: GeneratedAllocation): Plan {
    const { group } = this.nearest(target);
    return planGroup(target, group, this.units);
  }

  accept(): Promise<void> {
    return Promise.resolve();
  }

  waitsFor(): Promise<null> {
    return Promise.resolve(null);
  }

  async apply({ generation, asked }: Move): Promise<void> {
    await this.get();
    const { index } = this.nearest(asked);
    await this.ask("PUT", { generation, index });
  }

  async verify(plan: Plan): Promise<Verdict> {
    const state = await this.get();
    if (state.generation < plan.generation) {
      return {
        kind: "pending",
        why: `the engine runs selection ${state.generation} until its next boundary`,
      };
    }
    if (state.generation > plan.generation) {
      return { kind: "not_delivered", message: `the engine runs selection ${state.generation}` };
    }
    return judge(plan, this.allocationOf([state.prefillSms, state.decodeSms]));
  }

  close(): void {}

  private selectable(): readonly { readonly index: number; readonly group: SmGroup }[] {
    const found = this.groups
      .map((group, index) => ({ index, group }))
      .filter(({ group }) => group[0] > 0 && group[1] > 0);
    if (found.length > 0) return found;
    throw new DriverError(
      "nothing_to_move",
      `${this.config.url} offers no group with SMs for both phases`,
      false,
    );
  }

  private nearest({ split }: Allocation): { readonly index: number; readonly group: SmGroup } {
    const wanted = ((split.prefillSmPct + 100 - split.decodeSmPct) / 200) * this.units.smCount;
    return this.selectable().reduce((best, next) =>
      Math.abs(next.group[0] - wanted) < Math.abs(best.group[0] - wanted) ? next : best,
    );
  }

  private allocationOf(group: SmGroup): Allocation {
    return { split: splitOfGroup(group, this.units.smCount), kvQuotaPct: OPEN_QUOTA_PCT };
  }

  private get(): Promise<HookState> {
    return this.ask("GET");
  }

  private async ask(method: "GET" | "PUT", body?: Readonly<Record<string, unknown>>): Promise<HookState> {
    const { url, timeoutMs } = this.config;
    const state = await askJson({ method, url, timeoutMs, ...(body && { body }) }, this.shape);
    this.groups = state.groups;
    return state;
  }
}
