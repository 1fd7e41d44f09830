/** What a verified token says of who holds it, pure. */
import { createHash } from "node:crypto";
import { isPersonRole, type PersonRole, type RoleMap } from "../config-fields.js";

export type Claims = Readonly<Record<string, unknown>>;

const RANK: Record<PersonRole, number> = { viewer: 0, operator: 1, admin: 2 };
const MAX_SUBJECT = 255;
const MAX_READABLE = 80;

/**
 * The highest role among the claim's values (a text, or a list of them); null when there is none. The claim is found by
 * its whole name, or else by a path with dots.
 */
export function roleOf(claims: Claims, claim: string, roles: RoleMap | null): PersonRole | null {
  const found = valuesOf(claimAt(claims, claim))
    .map((value) => (roles === null ? value : Object.hasOwn(roles, value) ? roles[value]! : ""))
    .filter(isPersonRole);
  return found.toSorted((a, b) => RANK[b] - RANK[a])[0] ?? null;
}

function claimAt(claims: Claims, claim: string): unknown {
  if (Object.hasOwn(claims, claim)) return claims[claim];
  let at: unknown = claims;
  for (const part of claim.split(".")) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, part)) return undefined;
    at = (at as Claims)[part];
  }
  return at;
}

function valuesOf(value: unknown): string[] {
  const all: readonly unknown[] = Array.isArray(value) ? value : [value];
  return all.filter((one): one is string => typeof one === "string");
}

/**
 * How audit rows name the holder: issuer and subject, which say for certain who it is, after a name for readers. The
 * name is often the person's own to set, so it cannot hold what would pass for an issuer and subject.
 */
export function actorName(claims: Claims, issuer: string): string {
  const given = [claims["preferred_username"], claims["email"], claims["name"]].find(
    (one): one is string => typeof one === "string" && one.trim() !== "",
  );
  const kept = [...(given ?? "").replace(/[^\p{L}\p{N} ._@+-]/gu, "").trim()];
  const readable = kept.slice(0, MAX_READABLE).join("") || "token";
  return `${readable} (${issuer}#${printable(String(claims["sub"])).slice(0, MAX_SUBJECT)})`;
}

/** Half a character or a NUL would be stored as something else than what was hashed, or not at all. */
function printable(text: string): string {
  return text.replace(/[^\x21-\x7e]/gu, (character) =>
    [...Buffer.from(character)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""),
  );
}

/** An id of its own for each issuer and subject, in the shape of a key's: two people are two keys where two are asked for. */
export function holderId(issuer: string, subject: string): string {
  const hex = createHash("sha256")
    .update(JSON.stringify([issuer, subject]))
    .digest("hex");
  // A UUID of version 8 (RFC 9562): its bits are ours to say.
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
