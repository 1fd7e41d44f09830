/**
 * What stands around decide() for one instance that is driven in one process: the last windows, the generation,
 * the last moves and the policy's state; what the controller keeps in Postgres. For filters and simulations.
 */
import { decide } from "./decide.js";
import type { Decision, GuardConfig, Move, PolicyConfig, PolicyState, Snapshot } from "./decision.js";
import { MAX_RECENT_MOVES } from "./decision.js";
import { DEFAULT_LOOKBACK_MS } from "./defaults.js";
import type { Allocation, Limits, SloTarget, Window } from "./nouns.js";
import { seenToMs } from "./policy/policy-state.js";
import { emptySignal, latestSignal, summarise } from "./signal/summarise.js";
import type { WindowFault } from "./signal/window.js";
import { checkWindow } from "./signal/window.js";

/** Windows kept: two minutes of half-second windows. */
const MAX_WINDOWS = 256;

export interface LoopOptions {
  readonly instance: string;
  readonly policy: PolicyConfig;
  readonly guards: GuardConfig;
  readonly limits: Limits;
  readonly initial: Allocation;
  readonly controlIntervalMs: number;
}

/** One interval's measurement; the loop numbers it and tells which generation it ran at. */
export interface Measured {
  readonly window: Omit<Window, "seq" | "generation">;
  readonly slo: SloTarget;
  /** What runs now. */
  readonly running: Allocation;
  /** A change was asked and is not in force yet. */
  readonly switchPending: boolean;
  /** When the last change came into force; null: never. */
  readonly lastSwitchMs: number | null;
}

export interface LoopAnswer {
  readonly decision: Decision;
  /** Why the window was not believed; it was left out then. */
  readonly fault: WindowFault | null;
}

export class DecisionLoop {
  readonly #options: LoopOptions;
  readonly #guards: GuardConfig;
  readonly #lookbackMs: number;
  readonly #windows: Window[] = [];
  readonly #moves: Move[] = [];
  #generation = 1;
  #askedAtMs: number | null = null;
  #state: PolicyState | null = null;
  #seq = 0;
  #asked: Allocation;
  #newestMs = -Infinity;

  constructor(options: LoopOptions) {
    const { controlIntervalMs, guards } = options;
    this.#options = options;
    this.#asked = options.initial;
    // A window as long as the lookback must still fit into it, and two missing ones are no silence.
    this.#lookbackMs = Math.max(DEFAULT_LOOKBACK_MS, 3 * controlIntervalMs);
    this.#guards = { ...guards, staleAfterMs: Math.max(guards.staleAfterMs, 2.5 * controlIntervalMs) };
  }

  /** What was asked last. */
  get asked(): Allocation {
    return this.#asked;
  }

  /** A first decision before anything was measured. */
  start(slo: SloTarget): Decision {
    return this.#decide(
      this.#snapshot({ slo, running: this.#options.initial, switchPending: false }, null, 0),
      0,
    );
  }

  observe(measured: Measured): LoopAnswer {
    const nowMs = measured.window.endAtMs;
    if (nowMs < this.#newestMs - this.#lookbackMs) this.#forget();
    this.#newestMs = nowMs;
    const lastChangeMs = latest(measured.lastSwitchMs, this.#askedAtMs);
    const fault = this.#keep(measured, lastChangeMs, nowMs);
    return { decision: this.#decide(this.#snapshot(measured, lastChangeMs, nowMs), nowMs), fault };
  }

  /**
   * The clock went back by more than the lookback: it was set, or another run began. What was seen and asked on the
   * old clock lies in the future of the new one, and nothing could be compared with it until time has caught up.
   */
  #forget(): void {
    this.#windows.length = 0;
    this.#moves.length = 0;
    this.#askedAtMs = null;
    this.#state = null;
  }

  #keep(measured: Measured, lastChangeMs: number | null, nowMs: number): WindowFault | null {
    // A change asked or switched inside of the window: it ran at two allocations, and tells of neither.
    const whole = !measured.switchPending && (lastChangeMs ?? 0) <= measured.window.startAtMs;
    this.#seq += 1;
    const window = { ...measured.window, seq: this.#seq, generation: whole ? this.#generation : null };
    const fault = checkWindow(window, nowMs);
    if (fault !== null) return fault;
    this.#windows.push(window);
    if (this.#windows.length > MAX_WINDOWS) this.#windows.shift();
    return null;
  }

  #snapshot(
    measured: Pick<Measured, "slo" | "running" | "switchPending">,
    lastChangeMs: number | null,
    nowMs: number,
  ): Snapshot {
    const options = {
      sinceMs: lastChangeMs,
      currentGeneration: this.#generation,
      lookbackMs: this.#lookbackMs,
      guards: this.#guards,
    };
    const none = this.#windows.length === 0;
    return {
      instance: this.#options.instance,
      slo: measured.slo,
      sloVersion: 1,
      current: { ...measured.running, generation: this.#generation },
      rolloutGeneration: measured.switchPending ? this.#generation : null,
      lastChangeAtMs: lastChangeMs,
      coolDownUntilMs: null,
      recentMoves: this.#moves,
      limits: this.#options.limits,
      hold: { pinned: null, frozen: false },
      signal: none ? emptySignal("missing") : summarise(this.#windows, options, nowMs),
      latest: none ? null : latestSignal(this.#windows, seenToMs(this.#state) ?? 0, options, nowMs),
      state: this.#state,
    };
  }

  #decide(snapshot: Snapshot, nowMs: number): Decision {
    const decision = decide(snapshot, this.#options.policy, this.#guards, nowMs);
    this.#state = decision.state;
    if (decision.kind === "move") this.#remember(decision, snapshot.current, nowMs);
    return decision;
  }

  #remember(decision: Decision, running: Allocation, nowMs: number): void {
    const { split } = decision.allocation;
    this.#generation += 1;
    this.#moves.push({
      atMs: nowMs,
      generation: this.#generation,
      prefillDeltaPct: split.prefillSmPct - running.split.prefillSmPct,
      decodeDeltaPct: split.decodeSmPct - running.split.decodeSmPct,
    });
    if (this.#moves.length > MAX_RECENT_MOVES) this.#moves.shift();
    this.#asked = decision.allocation;
    this.#askedAtMs = nowMs;
  }
}

/** A quota that was asked counts from then on; a split from its switch, which is later. */
function latest(switchedMs: number | null, askedMs: number | null): number | null {
  if (switchedMs === null || askedMs === null) return switchedMs ?? askedMs;
  return Math.max(switchedMs, askedMs);
}
