/**
 * Parser of the Prometheus text format 0.0.4 and of OpenMetrics 1.0. Own, because parse-prometheus-text-format drops
 * histograms that come without a TYPE line, merges label sets in quadratic time and reports no line number.
 */
import { ReadError } from "./engine-reader.js";

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  /** May be NaN or infinite: the format allows it. Whoever uses a sample checks it. */
  readonly value: number;
}

/** Samples by full sample name: histograms appear as `x_bucket`, `x_sum`, `x_count`. */
export type Exposition = ReadonlyMap<string, readonly Sample[]>;

export interface ParseOptions {
  /** What is not wanted is passed over after its name: an engine exposes ten times of what a window needs. */
  readonly wanted?: (name: string) => boolean;
  /** The answer said that it is OpenMetrics, which ends in `# EOF`: without it, half of it is missing. */
  readonly openMetrics?: boolean;
}

/** A busy SGLang with every histogram on exposes a few thousand samples. */
export const MAX_SAMPLES = 200_000;
/** Longest line, in characters: vLLM's cache_config_info, the longest known, has about a thousand. */
export const MAX_LINE = 65_536;

const NAME = /[a-zA-Z_:][a-zA-Z0-9_:]*/y;
const LABEL = /[a-zA-Z_][a-zA-Z0-9_]*/y;
const ESCAPED: Readonly<Record<string, string>> = { n: "\n", "\\": "\\", '"': '"' };
/** Milliseconds in the text format, seconds with a fraction in OpenMetrics; not used either way. */
const TIMESTAMP = /^-?\d+(?:\.\d+)?$/;

/** @throws ReadError `malformed`, with the line number. */
export function parseExposition(text: string, { wanted, openMetrics }: ParseOptions = {}): Exposition {
  const byName = new Map<string, Sample[]>();
  let count = 0;
  let lineNumber = 0;
  let ended = false;
  for (let start = 0; start < text.length;) {
    const end = text.indexOf("\n", start);
    lineNumber += 1;
    // Both formats end every line; a value that was cut off would read as a smaller one.
    if (end === -1) throw malformed(lineNumber, "the answer ends inside a line", text.slice(start));
    if (end - start > MAX_LINE) {
      throw malformed(lineNumber, `longer than ${MAX_LINE} characters`, text.slice(start));
    }
    const line = text.slice(start, end).trim();
    start = end + 1;
    if (line === "") continue;
    if (ended) throw malformed(lineNumber, "text after # EOF", line);
    if (line.startsWith("#")) {
      ended = line === "# EOF";
      continue;
    }
    count += 1;
    if (count > MAX_SAMPLES) throw new ReadError("malformed", `more than ${MAX_SAMPLES} samples`);
    const name = matchAt(NAME, line, 0);
    if (name === null) throw malformed(lineNumber, "no metric name", line);
    if (wanted && !wanted(name)) continue;
    const sample = parseSample(line, name.length, lineNumber);
    const seen = byName.get(name);
    if (seen) seen.push(sample);
    else byName.set(name, [sample]);
  }
  if (openMetrics && !ended) throw malformed(lineNumber, "no # EOF: half of the answer is missing", "");
  return byName;
}

function malformed(lineNumber: number, what: string, line: string): ReadError {
  return new ReadError("malformed", `line ${lineNumber}: ${what}: ${line.slice(0, 80)}`);
}

/** What follows the name: labels, a value, a timestamp, and in OpenMetrics an exemplar, which is passed over. */
function parseSample(line: string, from: number, lineNumber: number): Sample {
  let at = from;
  let labels: Record<string, string> = {};
  if (line[at] === "{") {
    const parsed = parseLabels(line, at + 1);
    if (parsed === null) throw malformed(lineNumber, "bad labels", line);
    labels = parsed.labels;
    at = parsed.end;
  }
  const exemplar = line.indexOf(" # {", at);
  const rest = line.slice(at, exemplar === -1 ? line.length : exemplar).trim();
  if (rest === "") throw malformed(lineNumber, "no value", line);
  const [number = "", timestamp, more] = rest.split(/\s+/);
  if (more !== undefined || (timestamp !== undefined && !TIMESTAMP.test(timestamp))) {
    throw malformed(lineNumber, "text after the value", line);
  }
  const value = parseValue(number);
  if (value === null) throw malformed(lineNumber, "bad value", line);
  return { labels, value };
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
