import type { Allocation } from "@fulcrum/core/nouns.js";
import { createInstance, type Instance, type InstanceState } from "@fulcrum/simulator/instance.js";
import type { SimEvent, SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import type { SwitchOutcome } from "@fulcrum/simulator/switching.js";
import type { Turns } from "@fulcrum/simulator/turns.js";

/** Seconds of wall time that one advance may make up; the rest follows at the next ticks. */
const MAX_STEP_WALL_S = 1;

export interface EngineSetup {
  readonly profile: Profile;
  readonly initial: Allocation;
  readonly arrivals: Iterator<SimRequest>;
  /** Engine seconds per wall second. */
  readonly speed: number;
  /** Milliseconds of engine time that a prepare takes. */
  readonly prepareMs: number;
  /** Engine time at which this engine joins; requests that came before are skipped. */
  readonly bootMs: number;
  /** Milliseconds of engine time now, from a clock that never goes back; may be below 0 before the start. */
  readonly clock: () => number;
  /** Called with what happened, in order. */
  readonly onEvents: (events: readonly SimEvent[]) => void;
  /** Called with each request before anything happens to it. */
  readonly onSubmit?: (request: SimRequest) => void;
}

/** Faults to test with; each is used up by the operation that it hits. */
export interface Faults {
  /** So many of the next prepares are refused. */
  readonly prepareFail: number;
  /** The next prepare takes this much longer, milliseconds of engine time. */
  readonly prepareHangMs: number;
  /** After the next commit both workers wait this long before they switch. */
  readonly switchHangMs: number;
}

export const NO_FAULTS: Faults = { prepareFail: 0, prepareHangMs: 0, switchHangMs: 0 };

export type PrepareOutcome =
  | SwitchOutcome
  | { readonly ok: false; readonly code: "prepare_failed"; readonly message: string };

/** The instance, kept at the present by a clock, with the load that comes to it. */
export class Engine {
  readonly #setup: EngineSetup;
  readonly #instance: Instance;
  #next: SimRequest | null = null;
  #faults: Faults = NO_FAULTS;
  /** Requests that came before this engine was up. */
  readonly skippedArrivals: number;

  constructor(setup: EngineSetup) {
    this.#setup = setup;
    this.#instance = createInstance({
      profile: setup.profile,
      initial: { ...setup.initial, generation: 0 },
    });
    const { bootMs } = setup;
    this.#instance.advanceTo(bootMs);
    // Bounded: --start-at lies at most a day back.
    let skipped = 0;
    this.#pull();
    while (this.#next !== null && this.#next.arrivalMs < bootMs) {
      skipped += 1;
      this.#pull();
    }
    this.skippedArrivals = skipped;
  }

  /**
   * Lets the engine run up to now, at most a wall second's worth at a time, so that a process that was
   * stopped still answers while it catches up. Returns the milliseconds of engine time still missing.
   */
  advance(): number {
    const nowMs = this.#setup.clock();
    const beforeMs = this.#instance.state().nowMs;
    if (nowMs <= beforeMs) return 0;
    const untilMs = Math.min(nowMs, beforeMs + MAX_STEP_WALL_S * 1000 * this.#setup.speed);
    while (this.#next !== null && this.#next.arrivalMs <= untilMs) {
      this.#setup.onSubmit?.(this.#next);
      this.#instance.submit(this.#next);
      this.#pull();
    }
    this.#setup.onEvents(this.#instance.advanceTo(untilMs));
    return nowMs - untilMs;
  }

  state(): InstanceState {
    return this.#instance.state();
  }

  prepare(generation: number, allocation: Allocation): PrepareOutcome {
    // Workers whose share stays are not replaced: a change of quota alone, or a way back to what runs, is ready at once.
    const { asked } = this.#instance.state();
    const replaces =
      asked.split.prefillSmPct !== allocation.split.prefillSmPct ||
      asked.split.decodeSmPct !== allocation.split.decodeSmPct;
    const prepareMs = (replaces ? this.#setup.prepareMs : 0) + this.#faults.prepareHangMs;
    const outcome = this.#instance.prepare({ ...allocation, generation }, prepareMs);
    if (!outcome.ok || !outcome.changed) return outcome;
    this.#faults = { ...this.#faults, prepareHangMs: 0 };
    if (this.#faults.prepareFail === 0) return outcome;
    this.#faults = { ...this.#faults, prepareFail: this.#faults.prepareFail - 1 };
    this.#instance.abort(generation);
    return {
      ok: false,
      code: "prepare_failed",
      message: `preparing generation ${generation} failed (a fault)`,
    };
  }

  /** `at`: the iteration of each phase at whose end it switches; null: the one under way. */
  commit(generation: number, at: Turns | null): SwitchOutcome {
    const outcome = this.#instance.commit(generation, this.#faults.switchHangMs, at);
    if (outcome.ok && outcome.changed) this.#faults = { ...this.#faults, switchHangMs: 0 };
    return outcome;
  }

  abort(generation: number): SwitchOutcome {
    return this.#instance.abort(generation);
  }

  setFaults(faults: Faults): void {
    this.#faults = faults;
  }

  #pull(): void {
    const step = this.#setup.arrivals.next();
    this.#next = step.done === true ? null : step.value;
  }
}
