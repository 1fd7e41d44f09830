import { z } from "zod";
import { WIDEST_LIMITS } from "@fulcrum/core/nouns.js";
import type { InstanceState } from "@fulcrum/simulator/instance.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import type { Engine, PrepareOutcome } from "./engine.js";

/** docs/control-socket.md, as code: one request line in, one answer out. */
export interface ControlTarget {
  readonly engine: Engine;
  readonly profile: Profile;
  readonly prepareMs: number;
  readonly bootId: string;
}

type Answer = Readonly<Record<string, unknown>>;

const Id = z.union([z.string(), z.number()]);
const Request = z.discriminatedUnion("op", [
  z.object({ id: Id, op: z.literal("probe") }),
  z.object({ id: Id, op: z.literal("observe") }),
  z.object({
    id: Id,
    op: z.literal("prepare"),
    generation: z.number(),
    prefillSmPct: z.number(),
    decodeSmPct: z.number(),
    kvQuotaPct: z.number(),
  }),
  z.object({
    id: Id,
    op: z.literal("commit"),
    generation: z.number(),
    at: z.object({ prefill: z.number(), decode: z.number() }).nullable().default(null),
  }),
  z.object({ id: Id, op: z.literal("abort"), generation: z.number() }),
  z.object({
    id: Id,
    op: z.literal("faults"),
    prepareFail: z.number().default(0),
    prepareHangMs: z.number().default(0),
    switchHangMs: z.number().default(0),
  }),
]);
type Request = z.infer<typeof Request>;

interface Bound {
  readonly min: number;
  readonly max: number;
  readonly whole: boolean;
}

const COUNT: Bound = { min: 0, max: Number.MAX_SAFE_INTEGER, whole: true };
const CAP: Bound = { min: WIDEST_LIMITS.minSmPct, max: WIDEST_LIMITS.maxSmPct, whole: false };
const QUOTA: Bound = { min: WIDEST_LIMITS.minKvQuotaPct, max: WIDEST_LIMITS.maxKvQuotaPct, whole: false };
const HANG: Bound = { min: 0, max: 3_600_000, whole: false };
const BOUNDS: Readonly<Record<string, Bound>> = {
  generation: COUNT,
  "at.prefill": COUNT,
  "at.decode": COUNT,
  prefillSmPct: CAP,
  decodeSmPct: CAP,
  kvQuotaPct: QUOTA,
  prepareFail: { min: 0, max: 1_000_000, whole: true },
  prepareHangMs: HANG,
  switchHangMs: HANG,
};

/** Answers one line. Never throws: what cannot be understood is `bad_request`. */
export function answerLine(target: ControlTarget, line: string): Answer {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    return refusal(null, "bad_request", `not JSON: ${(error as Error).message}`);
  }
  const parsed = Request.safeParse(value);
  if (!parsed.success) return refusal(idOf(value), "bad_request", z.prettifyError(parsed.error));
  const request = parsed.data;
  const outOfBounds = findOutOfBounds(request);
  if (outOfBounds !== null) {
    const [field, message] = outOfBounds;
    return { id: request.id, ok: false, code: "out_of_bounds", field, message };
  }
  target.engine.advance();
  return answer(target, request);
}

function answer(target: ControlTarget, request: Request): Answer {
  const { engine } = target;
  const { id } = request;
  switch (request.op) {
    case "probe":
      return { id, ok: true, capabilities: capabilitiesOf(target) };
    case "observe":
      return { id, ok: true, state: stateOf(target) };
    case "prepare": {
      const { generation, prefillSmPct, decodeSmPct, kvQuotaPct } = request;
      const outcome = engine.prepare(generation, { split: { prefillSmPct, decodeSmPct }, kvQuotaPct });
      return withState(target, id, outcome);
    }
    case "commit":
      return withState(target, id, engine.commit(request.generation, request.at));
    case "abort":
      return withState(target, id, engine.abort(request.generation));
    case "faults": {
      const { prepareFail, prepareHangMs, switchHangMs } = request;
      engine.setFaults({ prepareFail, prepareHangMs, switchHangMs });
      return { id, ok: true, state: stateOf(target) };
    }
  }
}

function withState(target: ControlTarget, id: string | number, outcome: PrepareOutcome): Answer {
  const state = stateOf(target);
  if (outcome.ok) return { id, ok: true, state };
  return { id, ok: false, code: outcome.code, message: outcome.message, state };
}

function capabilitiesOf({ profile, prepareMs }: ControlTarget): Answer {
  return {
    live: true,
    ...WIDEST_LIMITS,
    smCount: profile.smCount,
    smPerTpc: profile.smPerTpc,
    prepareMs,
  };
}

function stateOf({ engine, bootId }: ControlTarget): Answer {
  const state = engine.state();
  return {
    generation: state.generation,
    phase: state.phase,
    delivered: flat(state.delivered),
    asked: flat(state.asked),
    prepared: state.prepared,
    iterations: state.turns,
    armed: state.armed,
    switchedAt: state.switchedAt,
    bootId,
    engineTimeMs: Math.round(state.nowMs),
  };
}

function flat({ split, kvQuotaPct }: InstanceState["asked"]): Answer {
  return {
    prefillSmPct: twoDecimals(split.prefillSmPct),
    decodeSmPct: twoDecimals(split.decodeSmPct),
    kvQuotaPct: twoDecimals(kvQuotaPct),
  };
}

function twoDecimals(value: number): number {
  return Math.round(value * 100) / 100;
}

function findOutOfBounds(request: Request): [field: string, message: string] | null {
  const at = request.op === "commit" ? request.at : null;
  const fields = at ? { ...request, "at.prefill": at.prefill, "at.decode": at.decode } : request;
  for (const [field, value] of Object.entries(fields)) {
    const bound = BOUNDS[field];
    if (bound === undefined || typeof value !== "number") continue;
    if (value >= bound.min && value <= bound.max && (!bound.whole || Number.isInteger(value))) continue;
    const kind = bound.whole ? "a whole number " : "";
    return [field, `${field} must be ${kind}${bound.min}..${bound.max}, got ${value}`];
  }
  return null;
}

function idOf(value: unknown): string | number | null {
  const id = typeof value === "object" && value !== null && "id" in value ? value.id : null;
  return typeof id === "string" || typeof id === "number" ? id : null;
}

export function refusal(id: string | number | null, code: string, message: string): Answer {
  return { id, ok: false, code, message };
}
