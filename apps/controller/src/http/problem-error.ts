import { PROBLEMS, type Problem, type ProblemCode } from "@fulcrum/contracts/problem.js";

export interface FieldError {
  readonly field: string;
  readonly message: string;
}

/** What a handler throws when a request cannot be served; the filter turns it into problem details. */
export class ProblemError extends Error {
  constructor(
    readonly code: ProblemCode,
    detail: string,
    readonly errors?: readonly FieldError[],
  ) {
    super(detail);
  }

  toProblem(path?: string): Problem {
    return problemOf(this.code, this.message, { errors: this.errors, path });
  }
}

export function problemOf(
  code: ProblemCode,
  detail: string,
  extra: { errors?: readonly FieldError[] | undefined; path?: string | undefined } = {},
): Problem {
  const { status, title } = PROBLEMS[code];
  return {
    type: `urn:fulcrum:problem:${code}`,
    title,
    status,
    detail,
    code,
    ...(extra.path ? { instance: extra.path } : {}),
    ...(extra.errors ? { errors: extra.errors.map((error) => ({ ...error })) } : {}),
  };
}
