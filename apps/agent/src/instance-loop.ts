import type {
  Ack,
  Assignment,
  InstanceReport,
  Registration,
  RegistrationAnswer,
} from "@fulcrum/contracts/agent-api.js";
import type { Logger } from "pino";
import type { AgentMetrics } from "./agent-metrics.js";
import type { Clock } from "./clock.js";
import type { InstanceConfig } from "./config.js";
import {
  type ActualState,
  type DriverCapabilities,
  DriverError,
  type PartitionDriver,
} from "./partition-driver.js";
import type { GpuCondition } from "./health/fault-memory.js";
import { ProgressWatch } from "./health/progress-watch.js";
import type { Journal } from "./journal.js";
import type { EngineReader } from "./reader/engine-reader.js";
import { type Deadlines, Rollout } from "./rollout.js";
import { Meter } from "./window/meter.js";

export interface InstanceLoopOptions {
  readonly config: InstanceConfig;
  readonly reader: EngineReader;
  readonly driver: PartitionDriver;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: AgentMetrics;
  readonly deadlines: Deadlines;
  readonly pollMs: number;
  readonly windowMs: number;
  /** Requests run and no token comes for so long: `NoProgress`. */
  readonly noProgressMs: number;
  /** Of the GPUs that the instance uses. */
  readonly nodeConditions: () => readonly GpuCondition[];
  readonly emit: (acks: readonly Ack[]) => void;
}

/** Conditions that are reported while they last, and those that are reported once after they happened. */
type Condition =
  | "ScrapeFailing"
  | "DriverUnreachable"
  | "JournalUnwritable"
  | "StaleAssignment"
  | "ReadBackMissing"
  | "NoProgress"
  | GpuCondition
  | "EngineRestarted"
  | "CounterReset";

/** Looks after one instance: measures it, and keeps it at what it should run. */
export class InstanceLoop {
  readonly name: string;
  readonly rollout: Rollout;
  /** What the rule of progress judges by; a rollout under verification looks at the part since its switch. */
  readonly progress: ProgressWatch;
  private readonly meter: Meter;
  private stalled = false;
  private probed: DriverCapabilities | null = null;
  /** The last read-back; null while the driver does not answer. */
  private actual: ActualState | null = null;
  private driverSilent = false;
  /** What a driver that cannot read its engine tells all the same. */
  private conditionsOfSilent: readonly string[] = [];
  private lastGeneration = 0;
  private staleAssignment = false;
  /** What the controller said at registration that the operator should set. */
  private warnings: readonly string[] = [];
  private readonly happened = new Set<Condition>();
  private wake = new AbortController();

  constructor(private readonly options: InstanceLoopOptions) {
    const { config, journal, driver, clock, log, deadlines, pollMs, windowMs, emit, metrics } = options;
    this.name = config.instance;
    this.progress = new ProgressWatch(options.noProgressMs);
    this.meter = new Meter({
      instance: this.name,
      reader: options.reader,
      journal,
      log,
      metrics,
      look: () => this.look(),
      onReset: () => this.happened.add("CounterReset"),
    });
    this.rollout = new Rollout({
      instance: config.instance,
      ranks: config.ranks,
      driver,
      journal,
      clock,
      log,
      deadlines,
      pollMs,
      idleMs: windowMs,
      emit,
      observe: () => this.observe(),
      capabilities: () => this.capabilities(),
      stepTook: (step, durationMs) =>
        metrics.add("rollout_step_seconds", { instance: this.name, step }, durationMs / 1_000),
    });
  }

  /** Keeps the engine at its target until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, windowMs } = this.options;
    signal.addEventListener("abort", () => this.wake.abort(), { once: true });
    while (!signal.aborted) {
      this.wake = new AbortController();
      let againMs = windowMs;
      try {
        againMs = await this.rollout.pass();
      } catch (error) {
        log.error({ event: "rollout_bug", error: String(error), stack: (error as Error).stack });
      }
      await clock.sleep(signal.aborted ? 0 : againMs, this.wake.signal);
    }
  }

  offer(assignment: Assignment): void {
    const offer = this.rollout.offer(assignment);
    this.staleAssignment = offer === "refused";
    if (offer === "accepted") this.wake.abort();
    const generation = this.rollout.targets.current?.generation ?? 0;
    this.options.metrics.set("target_generation", { instance: this.name }, generation);
  }

  /**
   * Of an instance on several nodes only the agent of rank 0 makes windows: two that number the windows of one
   * instance take each other's numbers, and SGLang exposes a whole engine's metrics at its first rank.
   */
  async measure(signal: AbortSignal): Promise<void> {
    const { journal, config } = this.options;
    if (journal.unwritable) void journal.flush();
    if (config.ranks.includes(0)) await this.meter.measure(signal);
    else await this.look();
    this.noteProgress();
  }

  /** null until the engine has been heard: its capabilities and its running allocation are read from it. */
  registrationPart(): Registration["instances"][number] | null {
    if (this.probed === null || this.actual === null) return null;
    const { instance, pool, ranks, rankCount } = this.options.config;
    const { driver, live, limits, prepareMs, smCount } = this.probed;
    const engine = this.options.config.reader.type;
    const capabilities = { driver, live, limits, prepareMs, smCount, engine };
    // A controller that knows a lower generation goes on above this one, instead of offering what is refused.
    const generation = Math.max(this.actual.generation, this.options.journal.state.highestGeneration);
    const running = this.actual.delivered;
    const seen = this.meter.latest;
    const buckets = {
      ttftMs: seen?.ttft ? [...seen.ttft.boundsMs] : null,
      tpotMs: seen?.tpot ? [...seen.tpot.boundsMs] : null,
    };
    return { instance, pool, ranks, rankCount, capabilities, generation, running, buckets, barrier: true };
  }

  registered({ lastSeq, assignment, warnings = [] }: RegistrationAnswer["instances"][number]): void {
    this.meter.windows.startAfter(lastSeq);
    this.warnings = warnings;
    for (const warning of warnings) this.options.log.warn({ event: "buckets_miss_slo" }, warning);
    this.offer(assignment);
  }

  reportPart(): InstanceReport {
    const { actual } = this;
    return {
      instance: this.name,
      windows: this.meter.windows.head() as InstanceReport["windows"],
      observed: actual && { ...actual.delivered, generation: actual.generation },
      conditions: this.conditions(),
    };
  }

  /** The controller took the report: what was to be told once is told. */
  accepted(lastSeq: number, reported: InstanceReport): void {
    this.meter.windows.acknowledge(lastSeq);
    for (const condition of reported.conditions as Condition[]) {
      if (condition !== "EngineRestarted" || this.rollout.settled) this.happened.delete(condition);
    }
  }

  /** The controller will never take these windows; what follows must not wait for them. */
  windowsRejected(reported: InstanceReport): void {
    this.meter.reject(reported.windows.at(-1)?.seq ?? 0);
  }

  get buffered(): number {
    return this.meter.windows.size;
  }

  conditions(): string[] {
    const lasting: Condition[] = [];
    if (this.meter.failing) lasting.push("ScrapeFailing");
    if (this.driverSilent) lasting.push("DriverUnreachable");
    if (this.options.journal.unwritable) lasting.push("JournalUnwritable");
    if (this.staleAssignment) lasting.push("StaleAssignment");
    if (this.options.journal.state.target?.readBackMissing) lasting.push("ReadBackMissing");
    if (this.stalled) lasting.push("NoProgress");
    const ofDriver = this.actual?.conditions ?? this.conditionsOfSilent;
    return [...new Set([...lasting, ...ofDriver, ...this.options.nodeConditions(), ...this.happened])];
  }

  status(): Record<string, unknown> {
    const { target, lastGood, highestGeneration } = this.options.journal.state;
    const { actual } = this;
    return {
      instance: this.name,
      observed: actual && { ...actual.delivered, generation: actual.generation, phase: actual.phase },
      target,
      lastGood,
      highestGeneration,
      settled: this.rollout.settled,
      nextSeq: this.meter.windows.next,
      bufferedWindows: this.meter.windows.size,
      droppedWindows: this.meter.windows.droppedCount,
      engine: this.options.config.reader.type,
      tpotBasis: this.meter.latest?.tpotBasis ?? null,
      warnings: [...this.warnings, ...(this.meter.latest?.notes ?? [])],
      conditions: this.conditions(),
    };
  }

  async close(): Promise<void> {
    await this.options.journal.flush();
    this.options.driver.close();
  }

  private noteProgress(): void {
    const { clock, log } = this.options;
    const seen = this.meter.latest;
    if (seen) {
      const { running } = seen.gauges;
      this.progress.note({ atMs: seen.monotonicMs, running, outputTokens: seen.counters.outputTokens });
    }
    const verdict = this.progress.verdict(clock.monotonicMs());
    const stalled = verdict.kind === "no_progress";
    if (stalled && !this.stalled) {
      log.error(
        { event: "no_progress", stalledMs: Math.round(verdict.stalledMs) },
        "requests run, no token comes",
      );
    }
    if (!stalled && this.stalled) log.info({ event: "progress", now: verdict.kind });
    this.stalled = stalled;
  }

  private async look(): Promise<ActualState | null> {
    try {
      const actual = await this.observe();
      await this.capabilities();
      return actual;
    } catch (error) {
      if (!(error instanceof DriverError)) throw error;
      return null;
    }
  }

  private async observe(): Promise<ActualState> {
    const { driver, log, metrics } = this.options;
    try {
      const actual = await driver.observe();
      if (this.driverSilent) log.info({ event: "driver_reachable" });
      this.driverSilent = false;
      this.noteEngine(actual);
      this.actual = actual;
      metrics.set("applied_generation", { instance: this.name }, actual.generation);
      return actual;
    } catch (error) {
      this.actual = null;
      this.conditionsOfSilent = error instanceof DriverError ? error.conditions : [];
      if (!this.driverSilent) log.warn({ event: "driver_unreachable", error: String(error) });
      this.driverSilent = true;
      throw error;
    }
  }

  /** An engine that began anew runs its start-up allocation: its rollout starts over from the read-back. */
  private noteEngine(actual: ActualState): void {
    const { journal, log } = this.options;
    const known = journal.state.bootId;
    // An allocation that was lost under a running engine is no restart; the rollout restores it all the same.
    const lost = actual.conditions?.includes("AllocationLost") ?? false;
    const fell = actual.generation < this.lastGeneration && !lost;
    this.lastGeneration = actual.generation;
    if (known === actual.bootId && !fell) return;
    void journal.update({ bootId: actual.bootId });
    this.probed = null;
    this.progress.restart();
    if (known === null) return;
    log.warn(
      { event: "engine_restarted", generation: actual.generation },
      "applying the last good allocation",
    );
    this.happened.add("EngineRestarted");
    this.rollout.unsettle();
    this.wake.abort();
  }

  private async capabilities(): Promise<DriverCapabilities> {
    this.probed ??= await this.options.driver.probe();
    return this.probed;
  }
}
