import type { AuditEntry } from "@fulcrum/contracts/resources.js";

/** As read from Postgres: json as the text that stands there, cut after MAX_JSON_CHARS + 1 characters. */
export interface StoredAudit {
  /** bigint. */
  readonly seq: string;
  readonly at: string | null;
  readonly actor: string | null;
  readonly keyId: string | null;
  readonly address: string | null;
  readonly action: string | null;
  readonly subject: string | null;
  readonly before: string | null;
  readonly after: string | null;
  readonly prevHash: string | null;
  readonly hash: string | null;
}

/** The largest that any action writes, a pool before or after, is below 10,000. */
export const MAX_JSON_CHARS = 262_144;
const MAX_SHOWN = 200;
/** Deeper JSON is not taken apart: JSON.stringify() goes down by recursion. What is written is below 20. */
const MAX_BRACKETS_DEEP = 500;
const STRINGS = /"(?:[^"\\]|\\.)*"/g;

/** The row for the wire. `stored` names the columns whose text is not the one that a controller would have written. */
export function asEntry(row: StoredAudit): AuditEntry {
  const stored: Record<string, string | null> = {};
  const number = Number(row.seq);
  if (!Number.isSafeInteger(number)) stored["seq"] = row.seq;
  const text = (column: "at" | "actor" | "action" | "subject" | "prevHash" | "hash"): string => {
    const value = row[column];
    if (value === null) stored[column] = null;
    return value ?? "";
  };
  const json = (column: "before" | "after"): unknown => {
    const value = row[column];
    const parsed = value === null ? undefined : asWritten(value);
    if (parsed === undefined) stored[column] = value === null ? null : shown(value);
    return parsed ?? null;
  };
  const entry = {
    seq: Math.min(Number.MAX_SAFE_INTEGER, Math.max(Number.MIN_SAFE_INTEGER, number)),
    at: text("at").replace(/000Z$/, "Z"),
    actor: text("actor"),
    keyId: row.keyId,
    address: row.address,
    action: text("action"),
    subject: text("subject"),
    before: json("before"),
    after: json("after"),
    prevHash: text("prevHash"),
    hash: text("hash"),
  };
  return Object.keys(stored).length === 0 ? entry : { ...entry, stored };
}

/** Undefined: not as JSON.stringify() writes it: a key twice, other spaces, 1.0 for 1, or more than is read. */
function asWritten(text: string): unknown {
  if (text.length > MAX_JSON_CHARS || depthOf(text) > MAX_BRACKETS_DEEP) return undefined;
  const value = JSON.parse(text) as unknown;
  return JSON.stringify(value) === text ? value : undefined;
}

function depthOf(text: string): number {
  let [depth, deepest] = [0, 0];
  for (const [character] of text.replace(STRINGS, "").matchAll(/[[\]{}]/g)) {
    depth += character === "[" || character === "{" ? 1 : -1;
    deepest = Math.max(deepest, depth);
  }
  return deepest;
}

function shown(text: string): string {
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}
