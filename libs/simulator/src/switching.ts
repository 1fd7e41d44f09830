import type { Allocation, GeneratedAllocation, Phase } from "@fulcrum/core/nouns.js";
import type { Turns } from "./turns.js";

/** Why a reconfiguration step was refused; the codes of the engine's control protocol. */
export type SwitchRefusal = "stale_generation" | "not_ready" | "too_late";

/** What a commit may ask for beyond "at the next boundary". */
export interface CommitOptions {
  /** Delays the switch of both workers (a fault to test with), milliseconds. */
  readonly holdMs: number;
  /** For each phase the turn at whose end it switches; absent: the next. */
  readonly at?: Turns | null;
  /** The turn of each phase that has ended, or that is under way: the first at whose end it can still switch. */
  readonly earliest: Turns;
}

export type SwitchOutcome =
  /** `changed` is false when everything was already as asked. */
  | { readonly ok: true; readonly changed: boolean }
  | { readonly ok: false; readonly code: SwitchRefusal; readonly message: string };

const PHASES = ["prefill", "decode"] as const;
const CHANGED: SwitchOutcome = { ok: true, changed: true };
const UNCHANGED: SwitchOutcome = { ok: true, changed: false };

/**
 * The delayed and asynchronous switch (semi-PD §4.3). `prepare` builds the new workers in the background;
 * `commit` lets each phase's worker take the new value at its own next iteration boundary, so that for a
 * while old and new run side by side; never more than two generations. At most one is prepared.
 *
 * A commit may name the turn at whose end each worker switches. Until the first gets there the generation is
 * armed: it stays prepared and may be aborted.
 */
export class Switching {
  #steady: GeneratedAllocation;
  /** The generation that workers are taking over, and since when they may. */
  #target: {
    readonly allocation: GeneratedAllocation;
    readonly fromMs: number;
    readonly at: Turns | null;
  } | null = null;
  /** When what is prepared switches by itself. */
  #armed: { readonly fromMs: number; readonly at: Turns } | null = null;
  #switchedAt: Turns | null = null;
  readonly #took: Record<Phase, number> = { prefill: 0, decode: 0 };
  #prepared: { readonly allocation: GeneratedAllocation; readonly readyAtMs: number } | null = null;
  readonly #runs: Record<Phase, GeneratedAllocation>;

  constructor(initial: GeneratedAllocation) {
    this.#steady = initial;
    this.#runs = { prefill: initial, decode: initial };
  }

  /** The generation that both workers have; the older one while a switch is under way. */
  get generation(): number {
    return this.#steady.generation;
  }

  /** The last allocation that was committed. */
  get asked(): Allocation {
    return this.#committed;
  }

  get switching(): boolean {
    return this.#target !== null;
  }

  /** Whether a worker may have something to take at its next boundary. */
  get pending(): boolean {
    return this.#target !== null || this.#armed !== null;
  }

  /** The turns at which what is prepared will switch; null when it waits for a commit. */
  get armed(): Turns | null {
    return this.#armed?.at ?? null;
  }

  /** The turns at whose ends the workers took what they run; null before the first switch. */
  get switchedAt(): Turns | null {
    return this.#switchedAt;
  }

  /** The turn at whose end this phase's worker will switch, when one was named and is still to come. */
  turnOf(phase: Phase): number | null {
    const target = this.#target;
    if (target === null) return this.#armed?.at[phase] ?? null;
    return this.#runs[phase] === target.allocation ? null : (target.at?.[phase] ?? null);
  }

  prepared(nowMs: number): { readonly generation: number; readonly ready: boolean } | null {
    const prepared = this.#prepared;
    return prepared && { generation: prepared.allocation.generation, ready: nowMs >= prepared.readyAtMs };
  }

  /** What this phase's worker runs: its cap, and for prefill the KV quota. */
  runs(phase: Phase): Allocation {
    return this.#runs[phase];
  }

  /** When a held switch may start, if that is still to come; else Infinity. */
  nextAtMs(nowMs: number): number {
    const fromMs = this.#target?.fromMs ?? this.#armed?.fromMs ?? -Infinity;
    return fromMs > nowMs ? fromMs : Infinity;
  }

  /** Replaces whatever was prepared. Preparing again what is prepared or committed changes nothing. */
  prepare(allocation: GeneratedAllocation, readyAtMs: number): SwitchOutcome {
    const { generation } = allocation;
    const stale = this.#staleness(generation);
    if (stale !== null) return stale;
    if (generation === this.#committed.generation) return UNCHANGED;
    if (generation === this.#prepared?.allocation.generation) return UNCHANGED;
    this.#prepared = { allocation, readyAtMs };
    this.#armed = null;
    return CHANGED;
  }

  /** Committing twice changes nothing, or names another turn while the first is still to come. */
  commit(generation: number, nowMs: number, { holdMs, at = null, earliest }: CommitOptions): SwitchOutcome {
    const stale = this.#staleness(generation);
    if (stale !== null) return stale;
    if (generation === this.#committed.generation) return UNCHANGED;
    const prepared = this.#prepared;
    if (prepared === null || prepared.allocation.generation !== generation) {
      return notReady(`generation ${generation} is not prepared`);
    }
    if (nowMs < prepared.readyAtMs) return notReady(`generation ${generation} is still being prepared`);
    if (this.#target !== null) {
      return notReady(`generation ${this.#target.allocation.generation} is still switching`);
    }
    if (at === null) {
      this.#begin(prepared.allocation, nowMs + holdMs, null);
      return CHANGED;
    }
    const armed = this.#armed?.at;
    if (armed && armed.prefill === at.prefill && armed.decode === at.decode) return UNCHANGED;
    const late = PHASES.find((phase) => at[phase] < earliest[phase]);
    if (late !== undefined) {
      const message = `${late} can switch at the end of iteration ${earliest[late]} at the earliest, not ${at[late]}`;
      return { ok: false, code: "too_late", message };
    }
    this.#armed = { fromMs: nowMs + holdMs, at };
    return CHANGED;
  }

  /** Drops a prepared generation; with nothing prepared it changes nothing. */
  abort(generation: number): SwitchOutcome {
    const stale = this.#staleness(generation);
    if (stale !== null) return stale;
    if (this.#prepared?.allocation.generation !== generation) return UNCHANGED;
    this.#prepared = null;
    this.#armed = null;
    return CHANGED;
  }

  /** Called by a worker at the end of `turn`; the generation it has just taken, or null. */
  takeAtBoundary(phase: Phase, nowMs: number, turn: number): number | null {
    const armed = this.#armed;
    if (armed && this.#prepared && nowMs >= armed.fromMs && turn >= armed.at[phase]) {
      this.#begin(this.#prepared.allocation, armed.fromMs, armed.at);
    }
    const target = this.#target;
    if (target === null || nowMs < target.fromMs || this.#runs[phase] === target.allocation) return null;
    if (target.at !== null && turn < target.at[phase]) return null;
    this.#runs[phase] = target.allocation;
    this.#took[phase] = turn;
    if (this.#runs.prefill === this.#runs.decode) {
      this.#steady = target.allocation;
      this.#target = null;
      this.#switchedAt = { ...this.#took };
    }
    return target.allocation.generation;
  }

  copy(): Switching {
    const copy = new Switching(this.#steady);
    copy.#target = this.#target;
    copy.#prepared = this.#prepared;
    copy.#armed = this.#armed;
    copy.#switchedAt = this.#switchedAt;
    Object.assign(copy.#took, this.#took);
    copy.#runs.prefill = this.#runs.prefill;
    copy.#runs.decode = this.#runs.decode;
    return copy;
  }

  #begin(allocation: GeneratedAllocation, fromMs: number, at: Turns | null): void {
    this.#prepared = null;
    this.#armed = null;
    this.#target = { allocation, fromMs, at };
  }

  get #committed(): GeneratedAllocation {
    return this.#target?.allocation ?? this.#steady;
  }

  #staleness(generation: number): SwitchOutcome | null {
    const prepared = this.#prepared?.allocation.generation ?? -1;
    const committed = this.#committed.generation;
    const newest = Math.max(prepared, committed);
    if (generation >= newest) return null;
    const what = newest === committed ? "runs" : "is prepared";
    return {
      ok: false,
      code: "stale_generation",
      message: `generation ${generation} is older than ${newest}, which ${what}`,
    };
  }
}

function notReady(message: string): SwitchOutcome {
  return { ok: false, code: "not_ready", message };
}
