/**
 * One driven instance: what the line protocol says is turned into windows, the loop in core decides, and what it
 * changes is the answer.
 */
import type { Decision, GuardConfig, PolicyConfig } from "@fulcrum/core/decision.js";
import { DecisionLoop } from "@fulcrum/core/decision-loop.js";
import type { Measured } from "@fulcrum/core/decision-loop.js";
import type { Allocation, SloTarget } from "@fulcrum/core/nouns.js";
import { describeWindowFault } from "@fulcrum/core/signal/window.js";
import { allocationFrom, milliseconds } from "./protocol.js";
import type { Hello, Observation } from "./protocol.js";
import { GpuShareReading } from "./read-work.js";

/** What is written on a line: the fields that change, and why. */
export interface Answer {
  readonly prefillSmPct?: number;
  readonly decodeSmPct?: number;
  readonly kvPrefillQuotaPct?: number;
  readonly reason?: string;
  readonly message?: string;
}

export class DecideSession {
  private readonly gpuShares = new GpuShareReading();
  private readonly loop: DecisionLoop;
  private slo: SloTarget;
  private number = 0;

  constructor(
    private readonly hello: Hello,
    policy: PolicyConfig,
    guards: GuardConfig,
    private readonly note: (text: string) => void,
  ) {
    const { profile, limits, initial, controlIntervalMs, slo } = hello;
    this.slo = slo;
    this.loop = new DecisionLoop({ instance: profile, policy, guards, limits, initial, controlIntervalMs });
  }

  /** The answer to the hello: only a policy that needs no signal has anything to say yet. */
  start(): Answer {
    return answerOf(this.hello.initial, this.loop.start(this.slo));
  }

  observe(seen: Observation): Answer {
    this.slo = seen.slo ?? this.slo;
    const running = allocationFrom(seen.split, allocationFrom(seen.target, this.loop.asked));
    const { decision, fault } = this.loop.observe({
      window: this.windowOf(seen),
      slo: this.slo,
      running,
      switchPending: seen.switchPending,
      lastSwitchMs: seen.lastSwitchMs,
    });
    this.number += 1;
    if (fault !== null) this.note(describeWindowFault(this.number, fault));
    return answerOf(running, decision);
  }

  private windowOf(seen: Observation): Measured["window"] {
    return {
      startAtMs: Math.max(0, milliseconds((seen.endMs - seen.windowMs) / 1000)),
      endAtMs: seen.endMs,
      durationMs: seen.windowMs,
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
      work: this.gpuShares.workOf(seen),
    };
  }
}

/** Only what changes. */
function answerOf(running: Allocation, decision: Decision): Answer {
  const { reason, message } = decision;
  if (decision.kind === "hold") return { reason, message };
  const { split, kvQuotaPct } = decision.allocation;
  return {
    ...(split.prefillSmPct === running.split.prefillSmPct ? {} : { prefillSmPct: split.prefillSmPct }),
    ...(split.decodeSmPct === running.split.decodeSmPct ? {} : { decodeSmPct: split.decodeSmPct }),
    ...(kvQuotaPct === running.kvQuotaPct ? {} : { kvPrefillQuotaPct: kvQuotaPct }),
    reason,
    message,
  };
}
