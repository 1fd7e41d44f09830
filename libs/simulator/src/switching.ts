import type { Allocation, GeneratedAllocation, Phase } from "@fulcrum/core/nouns.js";

/** Why a reconfiguration step was refused; the codes of the engine's control protocol. */
export type SwitchRefusal = "stale_generation" | "not_ready";

export type SwitchOutcome =
  /** `changed` is false when everything was already as asked. */
  | { readonly ok: true; readonly changed: boolean }
  | { readonly ok: false; readonly code: SwitchRefusal; readonly message: string };

const CHANGED: SwitchOutcome = { ok: true, changed: true };
const UNCHANGED: SwitchOutcome = { ok: true, changed: false };

/**
 * The delayed and asynchronous switch (semi-PD §4.3). `prepare` builds the new workers in the background;
 * `commit` lets each phase's worker take the new value at its own next iteration boundary, so that for a
 * while old and new run side by side; never more than two generations. At most one is prepared.
 */
export class Switching {
  #steady: GeneratedAllocation;
  /** The generation that workers are taking over, and since when they may. */
  #target: { readonly allocation: GeneratedAllocation; readonly fromMs: number } | null = null;
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
    return this.#target !== null && this.#target.fromMs > nowMs ? this.#target.fromMs : Infinity;
  }

  /** Replaces whatever was prepared. Preparing again what is prepared or committed changes nothing. */
  prepare(allocation: GeneratedAllocation, readyAtMs: number): SwitchOutcome {
    const { generation } = allocation;
    const stale = this.#staleness(generation);
    if (stale !== null) return stale;
    if (generation === this.#committed.generation) return UNCHANGED;
    if (generation === this.#prepared?.allocation.generation) return UNCHANGED;
    this.#prepared = { allocation, readyAtMs };
    return CHANGED;
  }

  /** `holdMs` delays the switch of both workers (a fault to test with). Committing twice changes nothing. */
  commit(generation: number, nowMs: number, holdMs: number): SwitchOutcome {
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
    this.#prepared = null;
    this.#target = { allocation: prepared.allocation, fromMs: nowMs + holdMs };
    return CHANGED;
  }

  /** Drops a prepared generation; with nothing prepared it changes nothing. */
  abort(generation: number): SwitchOutcome {
    const stale = this.#staleness(generation);
    if (stale !== null) return stale;
    if (this.#prepared?.allocation.generation !== generation) return UNCHANGED;
    this.#prepared = null;
    return CHANGED;
  }

  /** Called by a worker between two iterations; the generation it has just taken, or null. */
  takeAtBoundary(phase: Phase, nowMs: number): number | null {
    const target = this.#target;
    if (target === null || nowMs < target.fromMs || this.#runs[phase] === target.allocation) return null;
    this.#runs[phase] = target.allocation;
    if (this.#runs.prefill === this.#runs.decode) {
      this.#steady = target.allocation;
      this.#target = null;
    }
    return target.allocation.generation;
  }

  copy(): Switching {
    const copy = new Switching(this.#steady);
    copy.#target = this.#target;
    copy.#prepared = this.#prepared;
    copy.#runs.prefill = this.#runs.prefill;
    copy.#runs.decode = this.#runs.decode;
    return copy;
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
