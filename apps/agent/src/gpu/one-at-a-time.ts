/** A driver that waits for its GPU: it acts only while no other instance of the GPU is being moved. */
import type { Clock } from "../clock.js";
import {
  type ActualState,
  type DriverCapabilities,
  DriverError,
  type PartitionDriver,
  type Plan,
  type SwitchAt,
  type Verdict,
} from "../partition-driver.js";
import type { GeneratedAllocation } from "@fulcrum/core/nouns.js";
import type { GpuTurns } from "./gpu-turns.js";

export interface OneAtATimeOptions {
  readonly instance: string;
  /** UUIDs; instances that share one take turns. */
  readonly gpus: readonly string[];
  readonly turns: GpuTurns;
  /** Longest that a move may keep others waiting: what its own deadlines add up to. */
  readonly holdMs: number;
  readonly clock: Clock;
}

/**
 * `prepare` and `commit` take the turn, and throw `busy` while another instance has it. It is given back by read-back:
 * once the engine is seen steady with nothing prepared, whatever way it came there.
 */
export class OneAtATime implements PartitionDriver {
  private acting = 0;
  /** Grows with every action, so that a look from before one does not speak for after it. */
  private actions = 0;

  constructor(
    private readonly driver: PartitionDriver,
    private readonly options: OneAtATimeOptions,
  ) {}

  probe(): Promise<DriverCapabilities> {
    return this.driver.probe();
  }

  async observe(): Promise<ActualState> {
    const before = this.actions;
    const actual = await this.driver.observe();
    const current = this.acting === 0 && this.actions === before;
    if (current && actual.phase === "steady" && actual.prepared === null) {
      this.options.turns.release(this.options.instance);
    }
    return actual;
  }

  plan(target: GeneratedAllocation, capabilities: DriverCapabilities): Plan {
    return this.driver.plan(target, capabilities);
  }

  prepare(plan: Plan): Promise<ActualState> {
    return this.inTurn(() => this.driver.prepare(plan));
  }

  commit(plan: Plan, switchAt?: SwitchAt | null): Promise<ActualState> {
    return this.inTurn(() => this.driver.commit(plan, switchAt));
  }

  verify(plan: Plan): Promise<Verdict> {
    return this.driver.verify(plan);
  }

  rollback(generation: number): Promise<void> {
    return this.driver.rollback(generation);
  }

  close(): void {
    this.options.turns.release(this.options.instance);
    this.driver.close();
  }

  private async inTurn<T>(act: () => Promise<T>): Promise<T> {
    const { turns, instance, gpus, clock, holdMs } = this.options;
    const turn = turns.take(instance, gpus, clock.monotonicMs(), holdMs);
    if (turn.kind === "busy") {
      throw new DriverError("busy", `${turn.owner} is being moved on ${turn.gpu}`, true);
    }
    this.acting += 1;
    this.actions += 1;
    try {
      return await act();
    } finally {
      this.acting -= 1;
    }
  }
}
