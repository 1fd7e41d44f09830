/** One driver for the split and another for the KV quota, as one. */
import { createHash } from "node:crypto";
import type { GeneratedAllocation } from "@fulcrum/core/nouns.js";
import {
  type ActualState,
  type DriverCapabilities,
  DriverError,
  type PartitionDriver,
  type Plan,
  type SwitchAt,
  type Verdict,
} from "../../partition-driver.js";

const MAX_BOOT_ID = 200;

/**
 * Both keep the same generation; where an agent died between the two commits the lower one counts, so that the
 * commit is done again, which changes nothing where it was done.
 */
export class SplitWithQuota implements PartitionDriver {
  private able: { readonly split: DriverCapabilities; readonly quota: DriverCapabilities } | null = null;

  constructor(
    private readonly split: PartitionDriver,
    private readonly quota: PartitionDriver,
  ) {}

  async probe(): Promise<DriverCapabilities> {
    const [split, quota] = [await this.split.probe(), await this.quota.probe()];
    this.able = { split, quota };
    const { minKvQuotaPct, maxKvQuotaPct } = quota.limits;
    return {
      ...split,
      driver: `${split.driver}+${quota.driver}`.slice(0, 63),
      limits: { ...split.limits, minKvQuotaPct, maxKvQuotaPct },
      prepareMs: sumMs(split.prepareMs, quota.prepareMs),
    };
  }

  async observe(): Promise<ActualState> {
    return joined(await this.split.observe(), await this.quota.observe());
  }

  plan(target: GeneratedAllocation, capabilities: DriverCapabilities): Plan {
    const parts = this.partsOf(target);
    const { split } = parts.split.asked;
    const { kvQuotaPct } = parts.quota.asked;
    const { roundingPct } = capabilities;
    const adjusted = [
      ...parts.split.adjusted.filter((text) => !text.startsWith("kvQuotaPct")),
      ...parts.quota.adjusted.filter((text) => text.startsWith("kvQuotaPct")),
    ];
    return { generation: target.generation, asked: { split, kvQuotaPct }, roundingPct, adjusted };
  }

  async prepare(plan: Plan): Promise<ActualState> {
    const parts = await this.probedParts(plan);
    return joined(await this.split.prepare(parts.split), await this.quota.prepare(parts.quota));
  }

  /** The quota first: a switch of the split is the longer of the two, and the one that can be refused late. */
  async commit(plan: Plan, switchAt?: SwitchAt | null): Promise<ActualState> {
    const parts = await this.probedParts(plan);
    const quota = await this.quota.commit(parts.quota);
    return joined(await this.split.commit(parts.split, switchAt), quota);
  }

  async verify(plan: Plan): Promise<Verdict> {
    const parts = await this.probedParts(plan);
    const split = await this.split.verify(parts.split);
    const quota = await this.quota.verify(parts.quota);
    for (const kind of ["not_delivered", "pending", "unverified"] as const) {
      const found = [split, quota].find((verdict) => verdict.kind === kind);
      if (found) return found;
    }
    if (split.kind !== "delivered" || quota.kind !== "delivered") return split;
    const delivered = { split: split.delivered.split, kvQuotaPct: quota.delivered.kvQuotaPct };
    return { kind: "delivered", delivered };
  }

  async rollback(generation: number): Promise<void> {
    await this.split.rollback(generation);
    await this.quota.rollback(generation);
  }

  close(): void {
    this.split.close();
    this.quota.close();
  }

  private async probedParts(plan: Plan): Promise<{ readonly split: Plan; readonly quota: Plan }> {
    // An agent that began anew may be asked to go on before it has probed.
    if (this.able === null) await this.probe();
    return this.partsOf({ generation: plan.generation, ...plan.asked });
  }

  private partsOf(target: GeneratedAllocation): { readonly split: Plan; readonly quota: Plan } {
    if (this.able === null) throw new DriverError("not_ready", "the drivers have not been probed", true);
    const { split, quota } = this.able;
    // Whatever quota the split's driver could move stays open: the other one moves it.
    const open = { ...target, kvQuotaPct: split.limits.maxKvQuotaPct };
    return { split: this.split.plan(open, split), quota: this.quota.plan(target, quota) };
  }
}

function joined(split: ActualState, quota: ActualState): ActualState {
  const behind = split.generation <= quota.generation ? split : quota;
  const even = split.generation === quota.generation;
  const delivered = { split: split.delivered.split, kvQuotaPct: quota.delivered.kvQuotaPct };
  const asked = { split: split.asked.split, kvQuotaPct: quota.asked.kvQuotaPct };
  return {
    bootId: bootIdOf(split.bootId, quota.bootId),
    generation: behind.generation,
    phase: phaseOf(split, quota),
    delivered,
    asked,
    prepared: even ? bothPrepared(split, quota) : behind.prepared,
    iterations: split.iterations ?? null,
    failure: split.failure ?? quota.failure ?? null,
    conditions: [...new Set([...(split.conditions ?? []), ...(quota.conditions ?? [])])],
  };
}

/** Changes when either changes; an id has 200 characters at most. */
function bootIdOf(split: string, quota: string): string {
  const id = `${split}|${quota}`;
  return id.length <= MAX_BOOT_ID ? id : createHash("sha256").update(id).digest("hex");
}

function phaseOf(split: ActualState, quota: ActualState): ActualState["phase"] {
  const phases = [split.phase, quota.phase];
  return (
    phases.find((phase) => phase === "switching") ?? phases.find((phase) => phase === "preparing") ?? "steady"
  );
}

/** One that is left over alone, of an agent that died in between, is as good as none: preparing again is harmless. */
function bothPrepared(split: ActualState, quota: ActualState): ActualState["prepared"] {
  const [a, b] = [split.prepared, quota.prepared];
  if (a === null || b === null || a.generation !== b.generation) return null;
  return { generation: a.generation, ready: a.ready && b.ready };
}

function sumMs(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : a + b;
}
