/** Reasons not to decide at all, in the order in which they are told to an operator. */
import type { GuardConfig, HoldOrigin, HoldReason, OperatorHold, Snapshot } from "../decision.js";
import { sampleCount } from "../signal/histogram.js";

export interface Gate {
  readonly reason: HoldReason;
  readonly message: string;
}

/** A signal that must not be acted on. */
export function signalGate(snapshot: Snapshot, guards: GuardConfig, nowMs: number): Gate | null {
  const { signal } = snapshot;
  if (signal.freshness === "missing") {
    return { reason: "NO_SIGNAL", message: "No window has come in from this instance." };
  }
  if (signal.freshness === "stale") {
    const age = signal.toAtMs === null ? "" : ` ${seconds(nowMs - signal.toAtMs)} s ago`;
    return { reason: "STALE_SIGNAL", message: `The newest usable window ended${age || " too long ago"}.` };
  }
  const ttft = signal.ttft === null ? 0 : sampleCount(signal.ttft);
  const tpot = signal.tpot === null ? 0 : sampleCount(signal.tpot);
  if (signal.freshness === "thin" || ttft === 0 || tpot === 0) {
    const message = `${ttft} first tokens and ${tpot} finished requests since the last change are fewer than the ${guards.minSamples} needed of each.`;
    return { reason: "THIN_SIGNAL", message };
  }
  return null;
}

/** What operators have put in the way, a rollout under way, and the wait after a failed one. These hold for every policy. */
export function operatorGate(snapshot: Snapshot, nowMs: number): Gate | null {
  const { hold, rolloutGeneration } = snapshot;
  const held = holdGate(hold, nowMs);
  if (held !== null) return held;
  if (snapshot.degraded === true) {
    const message =
      "Changes in a row made it worse and were taken back; nothing is tried until a person says so.";
    return { reason: "DEGRADED", message };
  }
  if (rolloutGeneration !== null) {
    return {
      reason: "ROLLOUT_OPEN",
      message: `The rollout of generation ${rolloutGeneration} is not finished.`,
    };
  }
  if (snapshot.coolDownUntilMs !== null && nowMs < snapshot.coolDownUntilMs) {
    const left = seconds(snapshot.coolDownUntilMs - nowMs);
    return {
      reason: "COOL_DOWN",
      message: `The last rollout was rolled back; nothing is tried for another ${left} s.`,
    };
  }
  return null;
}

/** A pin before a pause: whoever unpins is then told of the pause. */
export function holdGate(hold: OperatorHold, nowMs: number): Gate | null {
  const { pinned, frozen } = hold;
  if (pinned !== null && (pinned.untilAtMs === null || nowMs < pinned.untilAtMs)) {
    return { reason: "PINNED", message: pinnedMessage(pinned, nowMs) };
  }
  return frozen ? { reason: "FROZEN", message: frozenMessage(hold, nowMs) } : null;
}

function pinnedMessage({ untilAtMs, by }: NonNullable<OperatorHold["pinned"]>, nowMs: number): string {
  const until = untilAtMs === null ? "until it is unpinned" : left(untilAtMs, nowMs);
  if (by === undefined) return `An operator has pinned the allocation ${until}.`;
  return `${HELD[by.kind]} by ${by.actor}, ${until}: ${closed(by.reason)}`;
}

const HELD: Readonly<Record<HoldOrigin["kind"], string>> = {
  pause: "Paused",
  pin: "Pinned",
  override: "Set by hand",
  freeze_window: "In a freeze window",
};

function frozenMessage({ frozenBy }: OperatorHold, nowMs: number): string {
  if (frozenBy === undefined) return "A change freeze is in force.";
  const { kind, scope, actor, reason, untilAtMs } = frozenBy;
  const until = untilAtMs === null ? "" : `, ${left(untilAtMs, nowMs)}`;
  return `${HELD[kind]} for the ${scope} by ${actor}${until}: ${closed(reason)}`;
}

function closed(reason: string): string {
  return /[.!?]$/.test(reason) ? reason : `${reason}.`;
}

function left(untilAtMs: number, nowMs: number): string {
  return `for another ${seconds(untilAtMs - nowMs)} s`;
}

/** A driver that restarts the engine may cost at most one part in 20 of its time. */
const DWELL_PER_DOWNTIME = 20;

/** The last change must have been in force for `dwellMs`, and for 20 times what a change stops the engine for. */
export function dwellGate(snapshot: Snapshot, guards: GuardConfig, nowMs: number): Gate | null {
  if (snapshot.lastChangeAtMs === null) return null;
  const sinceMs = nowMs - snapshot.lastChangeAtMs;
  const dwellMs = Math.max(guards.dwellMs, DWELL_PER_DOWNTIME * (snapshot.downtimeMs ?? 0));
  if (sinceMs >= dwellMs) return null;
  return {
    reason: "DWELL",
    message: `The last change has been in force for ${seconds(sinceMs)} s of the ${seconds(dwellMs)} s it must be.`,
  };
}

function seconds(ms: number): string {
  return String(Math.round(Math.max(0, ms) / 100) / 10);
}
