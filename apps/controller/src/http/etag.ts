import { ProblemError } from "./problem-error.js";

/** The ETag of a versioned resource. */
export function etagOf(version: number): string {
  return `"${version}"`;
}

/**
 * The version that If-Match names; null for `*` or, where it is optional, for none.
 * Throws 428 when it is required and missing, 400 when it is no ETag of ours.
 */
export function versionOf(ifMatch: string | undefined, need: "required" | "optional"): number | null {
  if (ifMatch === undefined || ifMatch === "") {
    if (need === "optional") return null;
    throw new ProblemError(
      "precondition_required",
      "Send If-Match with the ETag that you read, so that nobody's change is overwritten unseen.",
    );
  }
  if (ifMatch.trim() === "*") return null;
  const match = /^(?:W\/)?"(\d{1,9})"$/.exec(ifMatch.trim());
  if (!match)
    throw new ProblemError("invalid_request", `If-Match must be an ETag such as "3", got ${ifMatch}`, [
      { field: "If-Match", message: 'must be an ETag such as "3"' },
    ]);
  return Number(match[1]);
}

export function stale(what: string, current: number): ProblemError {
  return new ProblemError(
    "precondition_failed",
    `${what} is now at version ${current}; read it again and repeat the change.`,
  );
}
