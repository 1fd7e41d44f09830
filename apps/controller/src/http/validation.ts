import { StandardSchemaValidationPipe } from "@nestjs/common";
import { ProblemError } from "./problem-error.js";

/** At most so many faults are named in one answer. */
const MAX_ERRORS = 20;

interface Issue {
  readonly message: string;
  readonly path?: readonly unknown[] | undefined;
}

/** Nest's Standard Schema pipe over the zod schemas of the contracts; a fault names its field and bound. */
export function validationPipe(): StandardSchemaValidationPipe {
  return new StandardSchemaValidationPipe({
    exceptionFactory: (issues) => invalid(issues),
  });
}

export function invalid(issues: readonly Issue[]): ProblemError {
  const errors = issues
    .slice(0, MAX_ERRORS)
    .map((issue) => ({ field: fieldOf(issue), message: issue.message }));
  const detail = errors.map((error) => `${error.field}: ${error.message}`).join("; ");
  return new ProblemError("invalid_request", detail, errors);
}

function fieldOf(issue: Issue): string {
  // zod names unknown keys beside the path, not in it.
  const unknown = (issue as { code?: unknown; keys?: readonly string[] }).keys?.[0];
  if (unknown !== undefined) return [...(issue.path ?? []).map(String), unknown].join(".");
  const path = (issue.path ?? []).map((part) =>
    String(typeof part === "object" && part !== null && "key" in part ? part.key : part),
  );
  return path.length > 0 ? path.join(".") : "(body)";
}
