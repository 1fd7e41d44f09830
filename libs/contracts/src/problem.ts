import { z } from "zod";

/** Problem details (RFC 9457). `code` is stable and machine-readable; `errors` names each field and its bound. */
export const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string(),
    instance: z.string().optional(),
    errors: z.array(z.object({ field: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: "Problem" });

export type Problem = z.infer<typeof problem>;

/** Every code a problem may carry, with its HTTP status and title. */
export const PROBLEMS = {
  invalid_request: { status: 400, title: "The request is not valid" },
  unauthenticated: { status: 401, title: "The caller could not be identified" },
  forbidden: { status: 403, title: "The caller may not do this" },
  not_found: { status: 404, title: "There is no such thing" },
  conflict: { status: 409, title: "It clashes with what is there" },
  gone: { status: 410, title: "It was deleted" },
  precondition_failed: { status: 412, title: "It has changed since it was read" },
  body_too_large: { status: 413, title: "The body is over the size limit" },
  unsupported_media_type: { status: 415, title: "The body must be JSON" },
  nothing_accepted: { status: 422, title: "Nothing in the report could be accepted" },
  precondition_required: { status: 428, title: "If-Match is required" },
  internal: { status: 500, title: "The controller failed" },
  unavailable: { status: 503, title: "The controller cannot serve this now" },
} as const;

export type ProblemCode = keyof typeof PROBLEMS;
