/**
 * One driven instance: what the line protocol says is turned into windows and a snapshot, decide() is asked, and
 * what it changes is the answer. The session keeps what the controller would keep in Postgres: the generation,
 * the last windows, the last moves and the policy's state.
 */
import type {
  Decision,
  GuardConfig,
  Move,
  PolicyConfig,
  PolicyState,
  Snapshot,
} from "@fulcrum/core/decision.js";
import { MAX_RECENT_MOVES } from "@fulcrum/core/decision.js";
import { decide } from "@fulcrum/core/decide.js";
import { DEFAULT_LOOKBACK_MS } from "@fulcrum/core/defaults.js";
import type { Allocation, SloTarget, Window } from "@fulcrum/core/nouns.js";
import { emptySignal, summarise } from "@fulcrum/core/signal/summarise.js";
import { checkWindow, describeWindowFault } from "@fulcrum/core/signal/window.js";
import { allocationFrom, milliseconds } from "./protocol.js";
import type { Hello, Observation } from "./protocol.js";

/** Windows kept: two minutes of half-second windows. */
const MAX_WINDOWS = 256;

/** What is written on a line: the fields that change, and why. */
export interface Answer {
  readonly prefillSmPct?: number;
  readonly decodeSmPct?: number;
  readonly kvPrefillQuotaPct?: number;
  readonly reason?: string;
  readonly message?: string;
}

export class DecideSession {
  private readonly windows: Window[] = [];
  private readonly moves: Move[] = [];
  private readonly guards: GuardConfig;
  private readonly lookbackMs: number;
  private generation = 1;
  private asked: Allocation;
  private askedAtMs: number | null = null;
  private slo: SloTarget;
  private state: PolicyState | null = null;
  private seq = 0;

  constructor(
    private readonly hello: Hello,
    private readonly policy: PolicyConfig,
    guards: GuardConfig,
    private readonly note: (text: string) => void,
  ) {
    this.asked = hello.initial;
    this.slo = hello.slo;
    // A window as long as the lookback must still fit into it, and two missing ones are no silence.
    this.lookbackMs = Math.max(DEFAULT_LOOKBACK_MS, 3 * hello.controlIntervalMs);
    this.guards = { ...guards, staleAfterMs: Math.max(guards.staleAfterMs, 2.5 * hello.controlIntervalMs) };
  }

  /** The answer to the hello: only a policy that needs no signal has anything to say yet. */
  start(): Answer {
    return this.answer(this.snapshot(this.hello.initial, false, null, 0), this.hello.initial, 0);
  }

  observe(seen: Observation): Answer {
    this.slo = seen.slo ?? this.slo;
    const running = allocationFrom(seen.split, allocationFrom(seen.target, this.asked));
    this.keep(this.windowOf(seen), seen.endMs);
    const lastChangeMs = latest(seen.lastSwitchMs, this.askedAtMs);
    const snapshot = this.snapshot(running, seen.switchPending, lastChangeMs, seen.endMs);
    return this.answer(snapshot, running, seen.endMs);
  }

  private snapshot(
    running: Allocation,
    switchPending: boolean,
    lastChangeMs: number | null,
    nowMs: number,
  ): Snapshot {
    const signal =
      this.windows.length === 0
        ? emptySignal("missing")
        : summarise(
            this.windows,
            {
              sinceMs: lastChangeMs,
              currentGeneration: this.generation,
              lookbackMs: this.lookbackMs,
              guards: this.guards,
            },
            nowMs,
          );
    return {
      instance: this.hello.profile,
      slo: this.slo,
      sloVersion: 1,
      current: { ...running, generation: this.generation },
      rolloutGeneration: switchPending ? this.generation : null,
      lastChangeAtMs: lastChangeMs,
      coolDownUntilMs: null,
      recentMoves: this.moves,
      limits: this.hello.limits,
      hold: { pinned: null, frozen: false },
      signal,
      state: this.state,
    };
  }

  private answer(snapshot: Snapshot, running: Allocation, nowMs: number): Answer {
    const decision = decide(snapshot, this.policy, this.guards, nowMs);
    this.state = decision.state;
    if (decision.kind === "hold") return { reason: decision.reason, message: decision.message };
    this.generation += 1;
    this.remember(decision, running, nowMs);
    this.asked = decision.allocation;
    this.askedAtMs = nowMs;
    return changed(running, decision);
  }

  private remember(decision: Decision, running: Allocation, nowMs: number): void {
    const { split } = decision.allocation;
    this.moves.push({
      atMs: nowMs,
      generation: this.generation,
      prefillDeltaPct: split.prefillSmPct - running.split.prefillSmPct,
      decodeDeltaPct: split.decodeSmPct - running.split.decodeSmPct,
    });
    if (this.moves.length > MAX_RECENT_MOVES) this.moves.shift();
  }

  private keep(window: Window, nowMs: number): void {
    const fault = checkWindow(window, nowMs);
    if (fault !== null) {
      this.note(describeWindowFault(window.seq, fault));
      return;
    }
    this.windows.push(window);
    if (this.windows.length > MAX_WINDOWS) this.windows.shift();
  }

  private windowOf(seen: Observation): Window {
    const startAtMs = Math.max(0, milliseconds((seen.endMs - seen.windowMs) / 1000));
    // A change asked or switched inside of the window: it ran at two allocations, and tells of neither.
    const lastChangeMs = latest(seen.lastSwitchMs, this.askedAtMs);
    const whole = !seen.switchPending && (lastChangeMs ?? 0) <= startAtMs;
    this.seq += 1;
    return {
      seq: this.seq,
      startAtMs,
      endAtMs: seen.endMs,
      durationMs: seen.windowMs,
      generation: whole ? this.generation : null,
      arrivals: seen.arrivals,
      promptTokens: seen.promptTokens,
      finished: seen.finished,
      outputTokens: seen.outputTokens,
      ttft: seen.ttft,
      tpot: seen.tpot,
      queue: { prefillWaiting: seen.prefillWaiting, decodeRunning: seen.decodeRunning },
      kv: {
        totalTokens: seen.kvTotalTokens,
        usedTokens: seen.kvUsedTokens,
        preemptions: seen.preemptions,
      },
      busy: { prefillShare: seen.prefillBusyShare, decodeShare: seen.decodeBusyShare },
    };
  }
}

/** A quota that was asked counts from then on; a split from its switch, which is later. */
function latest(switchedMs: number | null, askedMs: number | null): number | null {
  if (switchedMs === null || askedMs === null) return switchedMs ?? askedMs;
  return Math.max(switchedMs, askedMs);
}

/** Only what changes. */
function changed(running: Allocation, decision: Decision): Answer {
  const { split, kvQuotaPct } = decision.allocation;
  return {
    ...(split.prefillSmPct === running.split.prefillSmPct ? {} : { prefillSmPct: split.prefillSmPct }),
    ...(split.decodeSmPct === running.split.decodeSmPct ? {} : { decodeSmPct: split.decodeSmPct }),
    ...(kvQuotaPct === running.kvQuotaPct ? {} : { kvPrefillQuotaPct: kvQuotaPct }),
    reason: decision.reason,
    message: decision.message,
  };
}
