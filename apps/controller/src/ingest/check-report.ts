import {
  instanceReport,
  MAX_INSTANCES_PER_REPORT,
  type InstanceReport,
  type Rejection,
  report,
} from "@fulcrum/contracts/agent-api.js";
import type { Window } from "@fulcrum/core/nouns.js";
import { describeFault, type Fault } from "@fulcrum/core/signal/fault.js";
import { checkWindow } from "@fulcrum/core/signal/window.js";
import { Ajv2020, type ErrorObject, type ValidateFunction } from "ajv/dist/2020.js";
import { z } from "zod";
import { ProblemError } from "../http/problem-error.js";

/**
 * Checks reports against the JSON Schema that zod makes of the contract, compiled by Ajv: this is the one
 * route where a thousand windows a second are checked, and zod's own parse took several times as long.
 */
const ajv = new Ajv2020({ strict: false, allErrors: false, useDefaults: true });
const validInstance = ajv.compile(schemaOf(instanceReport)) as ValidateFunction<InstanceReport>;
/** The same without looking into the entries: each is checked on its own. */
const envelope = z.strictObject({
  ...report.shape,
  instances: z.array(z.unknown()).max(MAX_INSTANCES_PER_REPORT),
});
const validEnvelope = ajv.compile(schemaOf(envelope)) as ValidateFunction<z.infer<typeof envelope>>;

/**
 * The longest backlog is 32 windows of an hour. Much older times come from a clock that was set back or
 * forth between window and report, and moved into the controller's time they may fit no calendar.
 */
const MAX_WINDOW_AGE_MS = 7 * 86_400_000;

function schemaOf(schema: z.ZodType): Record<string, unknown> {
  return z.toJSONSchema(schema, { target: "draft-2020-12", io: "input", reused: "inline" });
}

export interface CheckedReport {
  readonly agent: string;
  readonly sentAtMs: number;
  readonly instances: readonly InstanceReport[];
  readonly rejected: readonly Rejection[];
}

/**
 * The parts of a report that can be believed, and the others with the field and the bound they break.
 * Throws a problem when the envelope itself is wrong. Window times are those of the agent's clock.
 */
export function checkReport(body: unknown): CheckedReport {
  if (!validEnvelope(body)) throw envelopeProblem(validEnvelope.errors?.[0]);
  const instances: InstanceReport[] = [];
  const rejected: Rejection[] = [];
  for (const entry of body.instances) {
    const fault = faultOf(entry, body.sentAtMs);
    if (fault === null) instances.push(entry as InstanceReport);
    else rejected.push(fault);
  }
  return { agent: body.agent, sentAtMs: body.sentAtMs, instances, rejected };
}

function faultOf(entry: unknown, sentAtMs: number): Rejection | null {
  const instance = nameOf(entry);
  if (!validInstance(entry)) {
    const { field, message } = describe(validInstance.errors?.[0]);
    return { instance, code: "invalid_report", field, detail: `${field} ${message}` };
  }
  let lastSeq = -1;
  for (const [index, window] of entry.windows.entries()) {
    if (window.seq <= lastSeq) {
      const field = `windows.${index}.seq`;
      return {
        instance,
        code: "invalid_window",
        field,
        detail: `${field} is ${window.seq}, must be above the one before (${lastSeq})`,
      };
    }
    lastSeq = window.seq;
    const fault = checkWindow(window satisfies Window, sentAtMs) ?? storageFault(window, sentAtMs);
    if (fault === null) continue;
    const field = `windows.${index}.${fault.field}`;
    return { instance, code: "invalid_window", field, detail: `windows.${index}.${describeFault(fault)}` };
  }
  return null;
}

/** What could be believed, but not kept. */
function storageFault({ startAtMs }: Window, sentAtMs: number): Fault | null {
  if (startAtMs >= sentAtMs - MAX_WINDOW_AGE_MS) return null;
  const bound = `at most ${MAX_WINDOW_AGE_MS} ms before sentAtMs ${sentAtMs}`;
  return { field: "startAtMs", bound, value: startAtMs };
}

function nameOf(entry: unknown): string {
  const given = (entry as { instance?: unknown } | null)?.instance;
  return typeof given === "string" ? given.slice(0, 63) : "";
}

function envelopeProblem(error: ErrorObject | undefined): ProblemError {
  const { field, message } = describe(error);
  return new ProblemError("invalid_request", `${field} ${message}`, [{ field, message }]);
}

/** Ajv's path and sentence in our words: `windows.0.ttft.counts.3` and `must be >= 0`. */
function describe(error: ErrorObject | undefined): { field: string; message: string } {
  const path = (error?.instancePath ?? "").split("/").filter(Boolean);
  const params = (error?.params ?? {}) as { missingProperty?: string; additionalProperty?: string };
  const named = params.missingProperty ?? params.additionalProperty;
  if (named !== undefined) path.push(named);
  const message =
    params.additionalProperty !== undefined
      ? "is not a known field"
      : params.missingProperty !== undefined
        ? "is required"
        : (error?.message ?? "is not valid");
  return { field: path.join(".") || "(body)", message };
}
