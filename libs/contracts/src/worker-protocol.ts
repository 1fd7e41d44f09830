/**
 * The worker protocol, version 1 (docs/worker-protocol.md): newline-delimited JSON over a Unix socket between an
 * agent and the workers that it starts. Unknown fields are ignored, so that either side may be newer.
 */
import { z } from "zod";
import { generation, smPct } from "./primitives.js";

export const WORKER_PROTOCOL_VERSION = 1;
/** Longest line, either way; a status answer is some 200 bytes. */
export const MAX_WORKER_LINE_BYTES = 65_536;
export const MAX_WORKER_RANK = 63;

export const workerRole = z.enum(["prefill", "decode"]);
export type WorkerRole = z.infer<typeof workerRole>;

export const workerState = z.enum([
  /** Nothing attached. */
  "new",
  "attaching",
  /** Attached and warm, waits; has not iterated, or was disarmed. */
  "ready",
  /** Iterates as soon as its turn comes. */
  "armed",
  "iterating",
  /** Still iterating; hands over at the end of an iteration. */
  "handing_over",
  /** As ready, but it has iterated. */
  "handed_over",
  "draining",
]);
export type WorkerState = z.infer<typeof workerState>;

const count = z.int().min(0);
const turn = z.int().min(1);
const text = z.string().max(4_000);

/** What a worker says of itself in its hello and in the answer to `status`. */
const standing = {
  state: workerState,
  /** The highest turn it was told, by `iterate` or `hand_over`; null before the first. */
  turn: turn.nullable(),
  /** The last iteration that it ran; 0 before the first. */
  iteration: count,
  /** The SMs (CUs) that its own device context sees; null if it cannot tell. */
  smCount: z.int().min(1).max(10_000).nullable(),
};

export const workerHello = z.object({
  type: z.literal("hello"),
  protocol: z.int(),
  worker: z.string().min(1).max(128),
  pid: z.int().min(1),
  role: workerRole,
  rank: z.int().min(0).max(MAX_WORKER_RANK),
  generation,
  /** As FULCRUM_SM_PCT said. */
  smPct,
  ...standing,
});
export type WorkerHello = z.infer<typeof workerHello>;

export const workerRequest = z.discriminatedUnion("op", [
  z.object({ op: z.literal("attach") }),
  z.object({ op: z.literal("iterate"), turn, take: z.boolean().optional() }),
  z.object({ op: z.literal("hand_over"), turn, at: count.nullable().optional() }),
  /** Takes back a hand-over whose iteration has not come, or disarms. */
  z.object({ op: z.literal("keep") }),
  z.object({ op: z.literal("drain") }),
  z.object({ op: z.literal("leave") }),
  z.object({ op: z.literal("status") }),
]);
export type WorkerRequest = z.infer<typeof workerRequest>;
export type WorkerOp = WorkerRequest["op"];

export const workerRefusalCode = z.enum([
  "bad_request",
  "bad_state",
  "too_late",
  "stale_turn",
  /** Of a `hand_over` that a `keep` took back. */
  "kept",
  "failed",
]);

export const workerRefusal = z.object({
  id: z.int().nullable(),
  ok: z.literal(false),
  code: z.string().min(1).max(63),
  message: text,
  /** With `stale_turn`: the role's turn now. */
  turn: turn.nullable().optional(),
});
export type WorkerRefusal = z.infer<typeof workerRefusal>;

export const workerAcceptance = z.object({
  id: z.int(),
  ok: z.literal(true),
  state: workerState.optional(),
  turn: turn.nullable().optional(),
  iteration: count.optional(),
  smCount: z.int().min(1).max(10_000).nullable().optional(),
  /** Leases held with the resident; a successor takes them over. */
  leases: count.optional(),
});
export type WorkerAcceptance = z.infer<typeof workerAcceptance>;

export const workerAnswer = z.discriminatedUnion("ok", [workerAcceptance, workerRefusal]);
export type WorkerAnswer = z.infer<typeof workerAnswer>;

/** The answer to `status`, whole. */
export const workerStatus = z.object({ id: z.int(), ok: z.literal(true), ...standing, leases: count });

export const workerEvent = z.discriminatedUnion("event", [
  z.object({ event: z.literal("ready"), smCount: standing.smCount, tookMs: z.number().min(0) }),
  z.object({ event: z.literal("failed"), code: z.string().min(1).max(63), message: text }),
  z.object({
    event: z.literal("iterating"),
    turn,
    iteration: count,
    /** From the moment the turn came to the start of the first iteration. */
    waitedMs: z.number().min(0),
  }),
  /** `tokens`: of the role, its workers before included. */
  z.object({ event: z.literal("progress"), iteration: count, tokens: count }),
  /** The role's turn went past the worker's own, or the one it is armed for, without a hand-over: it has stopped. */
  z.object({ event: z.literal("fenced"), turn, iteration: count }),
]);
export type WorkerEvent = z.infer<typeof workerEvent>;

/** What an agent sends before it hangs up on a worker that it does not take. */
export const workerRefused = z.object({
  type: z.literal("refused"),
  code: z.enum(["protocol", "bad_hello", "duplicate", "wrong_rank", "bad_line"]),
  message: text,
});
export type WorkerRefused = z.infer<typeof workerRefused>;
