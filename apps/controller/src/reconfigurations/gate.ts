/**
 * The barrier of a group whose ranks are under several agents (docs/operations.md): no rank switches before all are
 * ready, and all of a role switch at the end of the same iteration. Pure.
 */
import type { IterationProgress, RankStep, SwitchAt } from "@fulcrum/contracts/agent-api.js";
import type { Gate } from "../fleet/gate.js";

/** The step of a rollout that is told when its gate opens. */
export const GATE_OPENED = "gate_opened";

/** What is known of one rank at the gate. */
export interface RankAtGate {
  readonly step: RankStep | null;
  /** As it was told with `ready`, and when that was, in the controller's time. */
  readonly iterations: (IterationProgress & { readonly atMs: number }) | null;
}

/**
 * What the agreed iteration lies ahead, at the rates that the ranks told. Telling both engines of a pair by long poll took
 * 0.15 to 0.55 s on 2 cores with a load average of 8; by report, when a wake is lost, it takes a window (1 s). Then it
 * must still be possible to take it back from those that were told (ARM_TIMEOUT_MS) before the first gets there.
 */
export const COVER_MS = 3_000;
/** After this long without the word of every rank that its engine has taken the iteration, it is taken back. */
export const ARM_TIMEOUT_MS = 1_500;
/** Later than this it is not taken back any more: it would reach some before and some after they have switched. */
const LATE_MS = 500;
/**
 * A worker that stood still may begin any time, and runs small batches fastest: no rate counts as less than this. An 8B
 * model decodes a small batch in some 10 ms and prefills a short prompt in some 25 (A100, data of MuxServe and SGLang).
 */
const LEAST_PER_S = { prefill: 40, decode: 100 } as const;
/**
 * A load that has grown iterates more slowly. All engines have the iteration, so to wait costs nothing, and to take it
 * back while it comes near could part the group: it is waited for at a tenth of the rate, but not for ever.
 */
const PATIENCE = 10;
const MAX_WAIT_MS = 600_000;

const BEFORE_SWITCH: ReadonlySet<RankStep | null> = new Set<RankStep | null>(["ready", "armed"]);
const ROLES = ["prefill", "decode"] as const;
const PER_S = { prefill: "prefillPerS", decode: "decodePerS" } as const;

/** The open gate, when the last rank has just become ready; else null. */
export function opened(
  gate: Gate | null,
  ranks: readonly RankAtGate[],
  rankCount: number,
  nowMs: number,
): Extract<Gate, { open: true }> | null {
  if (gate === null || gate.open || ranks.length < rankCount) return null;
  if (ranks.some(({ step }) => step === null || step === "preparing" || step === "failed")) return null;
  return { open: true, switchAt: agreedSwitch(ranks, nowMs), openedAtMs: nowMs };
}

/** Whether a rank may still switch later, alone, by what its engine was told. */
export function mayYetSwitch(gate: Gate | null, ranks: readonly RankAtGate[]): boolean {
  return gate?.open === true && ranks.some(({ step }) => BEFORE_SWITCH.has(step));
}

/**
 * Whether nobody was there to take the iteration back in time (the controller was away): what the ranks have done
 * meanwhile is heard first. True once, at the first look after the gate's own deadline.
 */
export function mustHearFirst(gate: Gate | null, deadlineAtMs: number, nowMs: number): boolean {
  if (gate?.open !== true || gate.switchAt === null) return false;
  const armedByMs = gate.openedAtMs + ARM_TIMEOUT_MS;
  return deadlineAtMs <= armedByMs && nowMs > armedByMs + LATE_MS;
}

/** Whether every rank's engine has the agreed iteration, or is past it. */
export function allArmed(gate: Gate | null, ranks: readonly RankAtGate[]): boolean {
  if (gate?.open !== true || gate.switchAt === null) return false;
  return ranks.every(({ step }) => step === "armed" || step === "switched" || step === "verified");
}

/** How long the agreed iterations are waited for, milliseconds. */
export function waitMs(switchAt: SwitchAt, ranks: readonly RankAtGate[], nowMs: number): number {
  const waits = ranks.flatMap(({ iterations }) =>
    iterations === null
      ? []
      : ROLES.map((role) => {
          const left = switchAt[role] - estimate(iterations, role, nowMs);
          // No rate told: as long as for any. An idle worker's turns count too, at least ten a second.
          return left <= 0 ? 0 : (PATIENCE * 1_000 * left) / iterations[PER_S[role]];
        }),
  );
  return Math.min(MAX_WAIT_MS, Math.max(0, ...waits));
}

/** null when a rank does not count, or has switched: then there is no iteration at which all could. */
function agreedSwitch(ranks: readonly RankAtGate[], nowMs: number): SwitchAt | null {
  if (ranks.some(({ step }) => step !== "ready")) return null;
  const told = ranks.flatMap(({ iterations }) => (iterations === null ? [] : [iterations]));
  if (told.length < ranks.length) return null;
  const agreed = (role: "prefill" | "decode"): number => {
    const furthest = Math.max(...told.map((one) => estimate(one, role, nowMs)));
    const perS = Math.max(LEAST_PER_S[role], ...told.map((one) => one[PER_S[role]]));
    return Math.ceil(furthest + (perS * COVER_MS) / 1_000);
  };
  return { prefill: agreed("prefill"), decode: agreed("decode") };
}

/**
 * A rank that was ready first has gone on while the others were preparing: by no more than is covered anyway, since
 * ranks of one group count alike and the one that was ready last tells best.
 */
function estimate(
  told: NonNullable<RankAtGate["iterations"]>,
  role: "prefill" | "decode",
  nowMs: number,
): number {
  const ageMs = Math.min(COVER_MS, Math.max(0, nowMs - told.atMs));
  return told[role] + (told[PER_S[role]] * ageMs) / 1_000;
}
