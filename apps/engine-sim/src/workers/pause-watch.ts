import type { Phase } from "@fulcrum/core/nouns.js";
import type { GapMeter } from "./gap-meter.js";
import type { Pause } from "./resident-protocol.js";

interface RolePause {
  /** Since when there is something to run and nothing runs; null: not so. */
  sinceMs: number | null;
  /** How long the resident had waited for cores by then. */
  coreWaitMs: number | null;
  /** The longest outside of hand-overs, since the last of them. */
  longest: Pause;
  /** A turn that has begun and whose first iteration has not ended. */
  begun: {
    readonly turn: number;
    readonly sawAtMs: number;
    pause: (Pause & { readonly turnMs: number }) | null;
  } | null;
  /** What the worker that made a turn for its successor says. */
  passed: { readonly turn: number; readonly coreWaitMs: number | null } | null;
}

const NONE: Pause = { ms: 0, coreWaitMs: 0 };

/**
 * The time in which a role has something to run and runs nothing, at hand-overs and between them; and how much of it the
 * processes waited for a core, which is the machine's doing and not the engine's. Engine time, milliseconds.
 */
export class PauseWatch {
  private readonly roles: Record<Phase, RolePause> = {
    prefill: { sinceMs: null, coreWaitMs: null, longest: NONE, begun: null, passed: null },
    decode: { sinceMs: null, coreWaitMs: null, longest: NONE, begun: null, passed: null },
  };

  /** @param coreWaitMs how long this process has waited for cores so far; null: not known. */
  constructor(
    private readonly meter: GapMeter,
    private readonly nowMs: () => number,
    private readonly coreWaitMs: () => number | null,
  ) {}

  /** There is something to run, and nothing runs. */
  waits(phase: Phase, sinceMs: number = this.nowMs()): void {
    const role = this.roles[phase];
    if (role.sinceMs !== null) return;
    role.sinceMs = sinceMs;
    role.coreWaitMs = this.coreWaitMs();
  }

  nothingWaits(phase: Phase): void {
    this.roles[phase].sinceMs = null;
  }

  /** A worker has begun a turn, which it saw at `sawAtMs`. */
  begun(phase: Phase, turn: number, sawAtMs: number): void {
    this.roles[phase].begun = { turn, sawAtMs, pause: null };
  }

  /** The worker that made this turn for its successor waited so long for cores after its last post; null: not known. */
  passed(phase: Phase, turn: number, coreWaitMs: number | null): void {
    this.roles[phase].passed = { turn, coreWaitMs };
  }

  /** A batch goes out. @param workerCoreWaitMs how long its worker waited for cores before it asked; null: not known. */
  runs(phase: Phase, workerCoreWaitMs: number | null): void {
    const role = this.roles[phase];
    const { sinceMs, begun } = role;
    role.sinceMs = null;
    const ms = sinceMs === null ? 0 : this.nowMs() - sinceMs;
    if (sinceMs !== null) this.meter.pause(phase, ms);
    const turnMs =
      sinceMs === null || begun === null ? 0 : Math.min(ms, Math.max(0, begun.sawAtMs - sinceMs));
    const coreWaitMs = within(ms, this.residentWait(role), within(ms - turnMs, workerCoreWaitMs));
    if (begun !== null) begun.pause ??= { ms, turnMs, coreWaitMs };
    else if (ms > role.longest.ms) role.longest = { ms, coreWaitMs };
  }

  /** The iteration took so long; its tokens came at most `gapMs` after those before them. */
  ended(phase: Phase, iterationMs: number, gapMs: number): void {
    const role = this.roles[phase];
    const { begun, passed, longest } = role;
    if (begun === null || begun.pause === null) return;
    const { turn } = begun;
    const { ms: pauseMs, turnMs, coreWaitMs: own } = begun.pause;
    const before = passed?.turn === turn ? within(turnMs, passed.coreWaitMs) : 0;
    const pause = { pauseMs, turnMs, coreWaitMs: within(pauseMs, own, before) };
    this.meter.handOver({ role: phase, turn, ...pause, iterationMs, gapMs, longestBefore: longest });
    role.begun = null;
    role.longest = NONE;
  }

  private residentWait({ coreWaitMs: before }: RolePause): number | null {
    const now = this.coreWaitMs();
    return before === null || now === null ? null : now - before;
  }
}

/** The parts together, and no more than `mostMs`: they may overlap. null where one is not known. */
function within(mostMs: number, ...partsMs: readonly (number | null)[]): number | null {
  let sumMs = 0;
  for (const partMs of partsMs) {
    if (partMs === null) return null;
    sumMs += partMs;
  }
  return Math.min(mostMs, sumMs);
}
