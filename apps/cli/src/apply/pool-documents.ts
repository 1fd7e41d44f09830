/** Pools out of YAML or JSON text: all of them checked, each fault with its place, before anybody writes anything. */
import { fullPool, limitsFault, type PoolSettings } from "@fulcrum/contracts/pool-defaults.js";
import { poolInput } from "@fulcrum/contracts/pools.js";
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  type YAMLMap,
} from "yaml";
import type { z } from "zod";
import { suggestion } from "../text/near-names.js";
import { knownFields, knownValues } from "./schema-names.js";

export const MAX_FILE_CHARS = 1_048_576;
const MAX_POOLS = 500;
/** References to one anchor, against files that unfold to something huge. */
const MAX_ALIASES = 100;

export interface Fault {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** Every pool of the text with all that it leaves out filled in; or what is wrong with it, in the order of the text. */
export function readPools(text: string): { readonly pools: PoolSettings[]; readonly faults: Fault[] } {
  const lines = new LineCounter();
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, merge: true });
  if (!Array.isArray(documents)) return { pools: [], faults: [nothingThere()] };
  const broken = documents.flatMap(({ errors }) =>
    errors.map((error) => ({ ...at(error.pos[0]), message: `is not YAML: ${firstLine(error.message)}` })),
  );
  if (broken.length > 0) return { pools: [], faults: broken };
  const entries = documents.flatMap((document) => entriesOf(document as Document));
  if (entries.length === 0) return { pools: [], faults: documents.some(saysNone) ? [] : [nothingThere()] };
  if (entries.length > MAX_POOLS) {
    const message = `holds ${entries.length} pools, more than ${MAX_POOLS}`;
    return { pools: [], faults: [{ line: 1, column: 1, message }] };
  }
  const seen = new Map<string, number>();
  const pools: PoolSettings[] = [];
  const faults: Fault[] = [];
  for (const entry of entries) {
    const checked = check(entry);
    for (const { path, onKey, message } of checked.faults)
      faults.push({ ...at(offsetOf(entry, path, onKey)), message });
    if (checked.pool === null) continue;
    const place = at(offsetOf(entry, ["name"], false));
    const first = seen.get(checked.pool.name);
    if (first !== undefined)
      faults.push({ ...place, message: `name: ${checked.pool.name} stands on line ${first} too` });
    seen.set(checked.pool.name, place.line);
    pools.push(checked.pool);
  }
  return { pools, faults: faults.toSorted((a, b) => a.line - b.line || a.column - b.column) };
}

interface Entry {
  readonly document: Document;
  readonly node: Node;
}

/** A document is a pool, a list of pools, or a mapping with the one field `pools` that is such a list. */
function entriesOf(document: Document): Entry[] {
  const root = document.contents;
  if (root === null || (isScalar(root) && root.value === null)) return [];
  const wrapped = isMap(root) && root.items.length === 1 ? root.get("pools", true) : undefined;
  const list = isSeq(root) ? root : isSeq(wrapped) ? wrapped : null;
  const nodes = list === null ? [root] : list.items.filter(isNode);
  return nodes.map((node) => ({ document, node }));
}

/** An empty list that stands there is meant; an empty file may be a pipe that broke. */
function saysNone({ contents }: Pick<Document, "contents">): boolean {
  const list = isMap(contents) && contents.items.length === 1 ? contents.get("pools", true) : contents;
  return isSeq(list) && list.items.length === 0;
}

interface Found {
  readonly path: readonly PropertyKey[];
  /** Whether the name of the field is at fault, and not its value. */
  readonly onKey: boolean;
  readonly message: string;
}

function check({ document, node }: Entry): { pool: PoolSettings | null; faults: Found[] } {
  const fail = (message: string) => ({ pool: null, faults: [{ path: [], onKey: false, message }] });
  let value: unknown;
  try {
    value = node.toJS(document, { maxAliasCount: MAX_ALIASES });
  } catch (error) {
    return fail(firstLine((error as Error).message));
  }
  if (!isMap(resolved(document, node)))
    return fail("must be a pool, with fields such as name, model and slo");
  const parsed = poolInput.safeParse(value);
  if (!parsed.success)
    return { pool: null, faults: parsed.error.issues.flatMap((issue) => foundIn(issue, value)) };
  const pool = fullPool(parsed.data);
  const fault = limitsFault(pool.limits);
  if (fault === null) return { pool, faults: [] };
  const path = ["limits", fault.field];
  return { pool, faults: [{ path, onKey: false, message: `${path.join(".")}: ${fault.message}` }] };
}

function foundIn(issue: z.core.$ZodIssue, root: unknown): Found[] {
  const { path } = issue;
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => {
      const hint = suggestion("field", key, knownFields(path));
      return { path: [...path, key], onKey: true, message: `${shown([...path, key])}: is no field. ${hint}` };
    });
  }
  const value = valueAt(root, path);
  const name = path.length === 0 ? "" : `${shown(path)}: `;
  if (value === undefined) return [{ path, onKey: false, message: `${name}is required` }];
  const values = knownValues(path);
  const typed = typeof value === "string" ? value : JSON.stringify(value);
  const hint = values.length === 0 ? "" : `. ${suggestion("value", typed, values)}`;
  const got = typeof value === "object" ? "" : `, got ${JSON.stringify(value)}`;
  return [{ path, onKey: false, message: `${name}${boundOf(issue)}${got}${hint}` }];
}

/** zod's sentence as a bound: what it must be, not what was wrong. */
function boundOf(issue: z.core.$ZodIssue): string {
  if (issue.code === "too_small" || issue.code === "too_big") {
    const [bound, words] =
      issue.code === "too_small"
        ? [issue.minimum, issue.inclusive === false ? "above" : "at least"]
        : [issue.maximum, issue.inclusive === false ? "below" : "at most"];
    return `must be ${words} ${String(bound)}${issue.origin === "string" ? " characters" : ""}`;
  }
  if (issue.code === "invalid_type") return `must be of type ${issue.expected}`;
  if (issue.code === "invalid_union" || issue.code === "invalid_value") return "is none of the values";
  return issue.message.replace(/^Invalid (string|input): /, "");
}

function shown(path: readonly PropertyKey[]): string {
  return path.map(String).join(".");
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let at: unknown = root;
  for (const part of path) {
    if (typeof at !== "object" || at === null) return undefined;
    at = (at as Readonly<Record<PropertyKey, unknown>>)[part];
  }
  return at;
}

/** Where in the text a path is; where it is not in it, as far as it goes. */
function offsetOf({ document, node }: Entry, path: readonly PropertyKey[], onKey: boolean): number {
  let at: Node = node;
  let offset = node.range?.[0] ?? 0;
  for (const [i, part] of path.entries()) {
    const inner = resolved(document, at);
    const pair = isMap(inner) ? pairOf(inner, part) : undefined;
    const next: unknown = isSeq(inner) ? inner.items[Number(part)] : pair?.value;
    const last = i === path.length - 1;
    if (last && onKey && isNode(pair?.key)) return pair.key.range?.[0] ?? offset;
    if (!isNode(next)) return offset;
    at = next;
    offset = next.range?.[0] ?? offset;
  }
  return offset;
}

function pairOf(map: YAMLMap, name: PropertyKey) {
  return map.items.find(({ key }) => isScalar(key) && String(key.value) === String(name));
}

function resolved(document: Document, node: Node): Node {
  return isAlias(node) ? (node.resolve(document) ?? node) : node;
}

function nothingThere(): Fault {
  return { line: 1, column: 1, message: "holds no pool" };
}

function firstLine(text: string): string {
  return text.split("\n")[0] ?? text;
}
