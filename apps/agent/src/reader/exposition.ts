/**
 * Parser of the Prometheus text format 0.0.4. Own, because parse-prometheus-text-format drops histograms
 * that come without a TYPE line, merges label sets in quadratic time and reports no line number.
 */
import { ReadError } from "./engine-reader.js";

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  /** May be NaN or infinite: the format allows it. Whoever uses a sample checks it. */
  readonly value: number;
}

/** Samples by full sample name: histograms appear as `x_bucket`, `x_sum`, `x_count`. */
export type Exposition = ReadonlyMap<string, readonly Sample[]>;

/** A busy SGLang with every histogram on exposes a few thousand samples. */
export const MAX_SAMPLES = 200_000;

const NAME = /[a-zA-Z_:][a-zA-Z0-9_:]*/y;
const LABEL = /[a-zA-Z_][a-zA-Z0-9_]*/y;
const ESCAPED: Readonly<Record<string, string>> = { n: "\n", "\\": "\\", '"': '"' };

/** @throws ReadError `malformed`, with the line number. */
export function parseExposition(text: string): Exposition {
  const byName = new Map<string, Sample[]>();
  let count = 0;
  let lineNumber = 0;
  for (let start = 0; start < text.length;) {
    const newline = text.indexOf("\n", start);
    const end = newline === -1 ? text.length : newline;
    const line = text.slice(start, end).trim();
    start = end + 1;
    lineNumber += 1;
    if (line === "" || line.startsWith("#")) continue;
    count += 1;
    if (count > MAX_SAMPLES) throw new ReadError("malformed", `more than ${MAX_SAMPLES} samples`);
    const { name, sample } = parseLine(line, lineNumber);
    const seen = byName.get(name);
    if (seen) seen.push(sample);
    else byName.set(name, [sample]);
  }
  return byName;
}

function parseLine(line: string, lineNumber: number): { name: string; sample: Sample } {
  const fail = (what: string): never => {
    throw new ReadError("malformed", `line ${lineNumber}: ${what}: ${line.slice(0, 80)}`);
  };
  const name = matchAt(NAME, line, 0) ?? fail("no metric name");
  let at = name.length;
  let labels: Record<string, string> = {};
  if (line[at] === "{") {
    const parsed = parseLabels(line, at + 1) ?? fail("bad labels");
    labels = parsed.labels;
    at = parsed.end;
  }
  const [value, timestamp, more] = line.slice(at).trim().split(/\s+/);
  if (value === undefined || value === "") fail("no value");
  if (more !== undefined || (timestamp !== undefined && !/^-?\d+$/.test(timestamp)))
    fail("text after the value");
  return { name, sample: { labels, value: parseValue(value ?? "") ?? fail("bad value") } };
}

/** Reads from behind the opening brace; `end` is behind the closing one. */
function parseLabels(line: string, from: number): { labels: Record<string, string>; end: number } | null {
  const labels: Record<string, string> = {};
  let at = skipSpace(line, from);
  while (line[at] !== "}") {
    const label = matchAt(LABEL, line, at);
    if (label === null) return null;
    at = skipSpace(line, at + label.length);
    if (line[at] !== "=") return null;
    at = skipSpace(line, at + 1);
    const quoted = parseQuoted(line, at);
    if (quoted === null) return null;
    labels[label] = quoted.value;
    at = skipSpace(line, quoted.end);
    if (line[at] === ",") at = skipSpace(line, at + 1);
    else if (line[at] !== "}") return null;
  }
  return { labels, end: at + 1 };
}

function parseQuoted(line: string, from: number): { value: string; end: number } | null {
  if (line[from] !== '"') return null;
  let value = "";
  for (let at = from + 1; at < line.length; at += 1) {
    const char = line[at] ?? "";
    if (char === '"') return { value, end: at + 1 };
    if (char === "\\") {
      at += 1;
      value += ESCAPED[line[at] ?? ""] ?? `\\${line[at] ?? ""}`;
    } else value += char;
  }
  return null;
}

function parseValue(text: string): number | null {
  if (/^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text)) return Number(text);
  if (/^nan$/i.test(text)) return Number.NaN;
  const infinite = /^([+-]?)inf(?:inity)?$/i.exec(text);
  return infinite ? (infinite[1] === "-" ? -Infinity : Infinity) : null;
}

function matchAt(pattern: RegExp, line: string, at: number): string | null {
  pattern.lastIndex = at;
  return pattern.exec(line)?.[0] ?? null;
}

function skipSpace(line: string, from: number): number {
  let at = from;
  while (line[at] === " " || line[at] === "\t") at += 1;
  return at;
}
