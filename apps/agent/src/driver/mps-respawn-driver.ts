/**
 * Moves the split by new workers beside the old ones (semi-PD §4.3, actuation.md §8.1): the share of a worker is fixed
 * when it starts. The supervisor does the work; this is its face as a driver. Serves `rocm-cu-mask` too, whose workers
 * get their share from a mask.
 */
import type { WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import type { Allocation, GeneratedAllocation, Limits } from "@fulcrum/core/nouns.js";
import { boundedErrorText } from "../workers/error-text.js";
import type { QuotaPort } from "../workers/quota-port.js";
import { type Hardware, bestCohort, isWarm } from "../workers/role-view.js";
import { RankClaimedError } from "../workers/claim.js";
import { RANKS_PARTED, ROLES, type Supervisor } from "../workers/supervisor.js";
import {
  type ActualState,
  type DriverCapabilities,
  DriverError,
  type PartitionDriver,
  type Plan,
  type SwitchAt,
  type Verdict,
} from "../partition-driver.js";
import { judge, quantise } from "./quantise.js";

const STATUS_MS = 500;
/** Between the end of one worker and the first iteration of the next, what was read last still counts. */
const GAP_MS = 5_000;

/** By the code of what is wrong with the MPS daemon. */
const MPS_CONDITIONS: Readonly<Record<string, string>> = {
  mps_fault: "MpsFault",
  mps_missing: "MpsMissing",
  mps_ambiguous: "MpsAmbiguous",
};

export interface RespawnDriverOptions {
  readonly name: "mps-respawn" | "rocm-cu-mask";
  readonly supervisor: Supervisor;
  readonly limits: Limits;
  readonly hardware: Hardware;
  /** False: the old workers stop first. */
  readonly live: boolean;
  readonly quota: QuotaPort | null;
}

export class RespawnDriver implements PartitionDriver {
  private opening: Promise<void> | null = null;
  private readonly lastRead = new Map<WorkerRole, { readonly smPct: number; readonly atMs: number }>();
  private preparedMs: number | null = null;
  private preparing: { readonly generation: number; readonly sinceMs: number } | null = null;

  constructor(private readonly options: RespawnDriverOptions) {}

  async probe(): Promise<DriverCapabilities> {
    await this.open();
    const { name, live, limits, hardware } = this.options;
    const { smCount, smPerTpc } = hardware;
    const roundingPct = Math.max(limits.granularityPct, (100 * smPerTpc) / smCount);
    return { driver: name, live, limits, prepareMs: this.preparedMs, smCount, roundingPct };
  }

  async observe(): Promise<ActualState> {
    await this.open();
    const { supervisor, quota } = this.options;
    const { armed } = supervisor;
    const isPrepared = armed || supervisor.prepared;
    // Fresh numbers are worth a round trip when ranks are about to agree on one.
    if (isPrepared) await supervisor.refreshIterations(STATUS_MS);
    const { bootId, committed, pending, failure } = supervisor.journal.state;
    if (isPrepared && pending && this.preparing?.generation === pending.generation) {
      this.preparedMs = Math.round(performance.now() - this.preparing.sinceMs);
      this.preparing = null;
    }
    const split = { prefillSmPct: this.deliveredPct("prefill"), decodeSmPct: this.deliveredPct("decode") };
    const kvQuotaPct = (await quota?.quotaPct()) ?? committed.asked.kvQuotaPct;
    return {
      bootId,
      generation: committed.generation,
      phase: pending === null ? "steady" : armed ? "preparing" : pending.step,
      delivered: { split, kvQuotaPct },
      asked: committed.asked,
      prepared:
        pending && (armed || pending.step === "preparing")
          ? { generation: pending.generation, ready: isPrepared }
          : null,
      iterations: this.iterations(),
      failure: failure && { ...failure, retryable: true },
      conditions: this.conditions(),
    };
  }

  plan(target: GeneratedAllocation, capabilities: DriverCapabilities): Plan {
    return quantise(target, capabilities);
  }

  async prepare(plan: Plan): Promise<ActualState> {
    await this.open();
    const { supervisor } = this.options;
    const { committed, pending } = supervisor.journal.state;
    refuseStale(plan, Math.max(committed.generation, pending?.generation ?? 0));
    if (plan.generation !== committed.generation && plan.generation !== pending?.generation) {
      if (pending?.step === "switching" && !supervisor.armed) {
        throw new DriverError("not_ready", `generation ${pending.generation} is still switching`, true);
      }
      await supervisor.mps?.refuse(this.workersToStart(plan.asked));
      this.preparing = { generation: plan.generation, sinceMs: performance.now() };
      supervisor.prepare(plan.generation, plan.asked);
    }
    return this.observe();
  }

  async commit(plan: Plan, switchAt: SwitchAt | null = null): Promise<ActualState> {
    await this.open();
    const { supervisor } = this.options;
    const { committed, pending, failure } = supervisor.journal.state;
    refuseStale(plan, Math.max(committed.generation, pending?.generation ?? 0));
    if (plan.generation === committed.generation) return this.observe();
    if (pending?.generation === plan.generation && pending.step === "switching") {
      // Armed for other iterations: ready again when nobody waits for those any more.
      if (!isSame(pending.at, switchAt) && supervisor.armed) supervisor.disarm();
      else return this.observe();
    }
    if (pending === null && failure?.generation === plan.generation) {
      throw new DriverError(failure.code, failure.message, true);
    }
    if (pending?.generation !== plan.generation || !supervisor.prepared) {
      throw new DriverError("not_ready", `generation ${plan.generation} is not ready`, true);
    }
    this.refuseLate(switchAt);
    supervisor.commit(switchAt);
    return this.observe();
  }

  async verify(plan: Plan): Promise<Verdict> {
    const actual = await this.observe();
    if (actual.phase === "switching" || actual.generation < plan.generation) {
      return { kind: "pending", why: `generation ${actual.generation} runs, ${actual.phase}` };
    }
    if (actual.generation > plan.generation) {
      return { kind: "not_delivered", message: `generation ${actual.generation} runs` };
    }
    const { failure } = this.options.supervisor.journal.state;
    if (failure?.code === RANKS_PARTED && failure.generation === plan.generation) {
      return { kind: "not_delivered", message: `${failure.code}: ${failure.message}` };
    }
    const blind = ROLES.flatMap((role) => this.options.supervisor.holders(role)).find(
      ({ smCount }) => smCount === null,
    );
    const verdict = judge(plan, actual.delivered);
    if (verdict.kind !== "delivered" || !blind) return verdict;
    return { kind: "unverified", message: `${blind.id} cannot tell how many SMs it sees` };
  }

  async rollback(generation: number): Promise<void> {
    await this.open();
    const { supervisor } = this.options;
    const { pending } = supervisor.journal.state;
    if (pending?.generation !== generation) return;
    if (pending.step === "preparing" || supervisor.revocable) supervisor.rollback();
  }

  /** The workers go on. */
  close(): void {
    this.options.quota?.close();
    void this.options.supervisor.close();
  }

  private async open(): Promise<void> {
    this.opening ??= this.options.supervisor.open();
    try {
      await this.opening;
    } catch (error) {
      this.opening = null;
      if (error instanceof RankClaimedError) throw new DriverError("rank_claimed", error.message, true);
      throw new DriverError("workers_dir", `the workers' folder: ${boundedErrorText(error)}`, true);
    }
  }

  /** What the workers that iterate see, of all SMs; the least of the ranks. */
  private deliveredPct(role: WorkerRole): number {
    const { supervisor, hardware } = this.options;
    const view = supervisor.view(role);
    const holders = supervisor.holders(role);
    const now = performance.now();
    if (view.ranks.every((rank) => holders.some((holder) => holder.rank === rank))) {
      const counts = holders.map(({ smCount, smPct }) =>
        smCount === null ? smPct : Math.round((10_000 * smCount) / hardware.smCount) / 100,
      );
      const smPct = Math.min(...counts);
      this.lastRead.set(role, { smPct, atMs: now });
      return smPct;
    }
    const last = this.lastRead.get(role);
    if (last && now - last.atMs < GAP_MS) return last.smPct;
    const conditions = this.conditions();
    const why = conditions.length === 0 ? "" : ` (${conditions.join(", ")})`;
    const message = `no ${role} worker iterates on every rank${why}`;
    throw new DriverError("unreachable", message, true, conditions);
  }

  private iterations(): SwitchAt | null {
    const [prefill, decode] = ROLES.map((role) =>
      this.options.supervisor.holders(role).map(({ iteration }) => iteration),
    );
    if (!prefill?.length || !decode?.length) return null;
    return { prefill: Math.max(...prefill), decode: Math.max(...decode) };
  }

  /** An iteration that is past already: better said before anything moves. */
  private refuseLate(switchAt: SwitchAt | null): void {
    const now = this.iterations();
    if (switchAt === null || now === null) return;
    for (const role of ROLES) {
      const view = this.options.supervisor.view(role);
      if (view.pending?.smPct === view.runs.smPct || now[role] < switchAt[role]) continue;
      throw new DriverError("too_late", `${role} is at iteration ${now[role]}, past ${switchAt[role]}`, true);
    }
  }

  private workersToStart({ split }: Allocation): number {
    const { supervisor } = this.options;
    return ROLES.map((role) => {
      const wanted = role === "prefill" ? split.prefillSmPct : split.decodeSmPct;
      const view = supervisor.view(role);
      const isThere = bestCohort(view, (worker) => worker.smPct === wanted && isWarm(worker)) !== null;
      return isThere ? 0 : view.ranks.length;
    }).reduce((sum, count) => sum + count, 0);
  }

  private conditions(): readonly string[] {
    const { supervisor } = this.options;
    const { gpuSuspect, failure } = supervisor.journal.state;
    const trouble = supervisor.mps?.trouble;
    const isShort = ROLES.some((role) => {
      const { runs, pending, ranks } = supervisor.view(role);
      const holders = supervisor.holders(role);
      const isElse = (rank: number): boolean => {
        const mine = holders.filter((holder) => holder.rank === rank);
        // The new one may be heard to iterate before the old one is heard to have handed over.
        return mine.length > 0 && !mine.some(({ smPct }) => smPct === runs.smPct);
      };
      return pending === null && ranks.some(isElse);
    });
    return [
      ...(trouble ? [MPS_CONDITIONS[trouble.code] ?? "MpsMissing"] : []),
      ...(gpuSuspect ? ["GpuSuspect"] : []),
      ...(isShort ? ["WorkerLost"] : []),
      ...(supervisor.contested ? ["RankContested"] : []),
      ...(failure?.code === RANKS_PARTED ? ["RanksParted"] : []),
      ...(supervisor.residentOverdue ? ["ResidentNotReady"] : []),
      ...(supervisor.journal.unwritable ? ["WorkerJournalUnwritable"] : []),
    ];
  }
}

function refuseStale(plan: Plan, newest: number): void {
  if (plan.generation >= newest) return;
  throw new DriverError("stale_generation", `generation ${plan.generation} is below ${newest}`, false);
}

function isSame(a: SwitchAt | null, b: SwitchAt | null): boolean {
  return a?.prefill === b?.prefill && a?.decode === b?.decode;
}
