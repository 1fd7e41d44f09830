/**
 * An engine's control surface as docs/control-socket.md tells it, without time: what takes long is done when it is
 * looked at next, or when the test lets it. Serves the in-memory driver and the fake engine's socket alike.
 */
import type { Allocation } from "@fulcrum/core/nouns.js";
import type { ActualState, SwitchAt } from "../partition-driver.js";

export const MODEL_SM_COUNT = 108;
export const MODEL_SM_PER_TPC = 2;
const START_UP: Allocation = { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 100 };

export class Refusal extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export class EngineModel {
  /** While set, a preparation (or a switch) that was begun does not end. */
  holdPrepare = false;
  holdSwitch = false;
  /** The next n preparations are lost. */
  losePrepares = 0;
  /** The next n preparations are refused with this code. */
  refusePrepares: { times: number; code: string } = { times: 0, code: "prepare_failed" };
  /** The last iteration of both workers; in the test's hands. null: an engine that does not count. */
  iterations: SwitchAt | null = null;
  /** What runs cannot be read back. */
  unreadable = false;
  /** Delivered instead of what was asked. */
  misdeliver: Allocation | null = null;
  readonly calls: string[] = [];

  private boots = 1;
  private generation = 0;
  private asked = START_UP;
  private prepared: { generation: number; ready: boolean; allocation: Allocation } | null = null;
  private switching = false;
  private armed: SwitchAt | null = null;

  /** Begins anew, as a process that was killed and started again does. */
  restart(): void {
    this.boots += 1;
    this.generation = 0;
    this.asked = START_UP;
    this.prepared = null;
    this.switching = false;
    this.armed = null;
  }

  /** Both workers have run so many iterations more. */
  iterate(count: number): void {
    const { prefill, decode } = this.iterations ?? { prefill: 0, decode: 0 };
    this.iterations = { prefill: prefill + count, decode: decode + count };
  }

  observe(): ActualState {
    if (this.armed && this.isPast(this.armed)) {
      this.armed = null;
      this.switching = true;
    }
    const state = this.state();
    if (this.prepared && !this.prepared.ready && !this.holdPrepare) {
      if (this.losePrepares > 0) {
        this.losePrepares -= 1;
        this.prepared = null;
      } else this.prepared.ready = true;
    } else if (this.prepared && this.switching && !this.holdSwitch) {
      this.generation = this.prepared.generation;
      this.asked = this.prepared.allocation;
      this.prepared = null;
      this.switching = false;
    }
    return state;
  }

  prepare(generation: number, allocation: Allocation): ActualState {
    this.calls.push(`prepare ${generation}`);
    this.refuseStale(generation);
    if (this.refusePrepares.times > 0) {
      this.refusePrepares.times -= 1;
      throw new Refusal(this.refusePrepares.code, "refused by the test");
    }
    if (generation !== this.generation && generation !== this.prepared?.generation) {
      this.prepared = { generation, ready: false, allocation };
      this.armed = null;
    }
    return this.state();
  }

  commit(generation: number, at: SwitchAt | null = null): ActualState {
    this.calls.push(
      at === null ? `commit ${generation}` : `commit ${generation} at ${at.prefill}/${at.decode}`,
    );
    this.refuseStale(generation);
    if (this.generation === generation) return this.state();
    if (this.prepared?.generation !== generation || !this.prepared.ready) {
      throw new Refusal("not_ready", `generation ${generation} is not ready`);
    }
    if (at !== null && this.isPast(at)) throw new Refusal("too_late", "the iteration is past");
    if (at === null) this.switching = true;
    else this.armed = at;
    return this.state();
  }

  abort(generation: number): ActualState {
    this.calls.push(`abort ${generation}`);
    if (this.prepared?.generation === generation && !this.switching) {
      this.prepared = null;
      this.armed = null;
    }
    return this.state();
  }

  private isPast(at: SwitchAt): boolean {
    const { prefill, decode } = this.iterations ?? { prefill: 0, decode: 0 };
    return prefill >= at.prefill || decode >= at.decode;
  }

  private refuseStale(generation: number): void {
    const newest = Math.max(this.generation, this.prepared?.generation ?? 0);
    if (generation < newest) throw new Refusal("stale_generation", `${generation} is below ${newest}`);
  }

  private state(): ActualState {
    const phase = this.switching ? "switching" : this.prepared ? "preparing" : "steady";
    const prepared = this.prepared && { generation: this.prepared.generation, ready: this.prepared.ready };
    const delivered = this.misdeliver ?? {
      split: {
        prefillSmPct: wholeTpcs(this.asked.split.prefillSmPct),
        decodeSmPct: wholeTpcs(this.asked.split.decodeSmPct),
      },
      kvQuotaPct: this.asked.kvQuotaPct,
    };
    const bootId = `boot-${this.boots}`;
    const { generation, asked, iterations } = this;
    return { bootId, generation, phase, delivered, asked, prepared, iterations };
  }
}

function wholeTpcs(pct: number): number {
  const tpcs = Math.floor((pct / 100) * (MODEL_SM_COUNT / MODEL_SM_PER_TPC) + 1e-9);
  return Math.round(((tpcs * MODEL_SM_PER_TPC) / MODEL_SM_COUNT) * 10_000) / 100;
}
