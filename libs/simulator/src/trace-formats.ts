import type { Lengths, TracedRequest } from "./arrivals.js";
import { refuse } from "./input-check.js";

/** Greatest number of rows read of one file. */
const MAX_ROWS = 5_000_000;

/**
 * The Azure LLM inference traces: CSV with the header `TIMESTAMP,ContextTokens,GeneratedTokens`, times like
 * `2023-11-16 18:15:46.6805900` without a zone, sorted. `file` names the file in errors; SimulatorInputError
 * says the line.
 */
export function parseAzureCsv(text: string, file: string): TracedRequest[] {
  const { columns, rows } = splitCsv(text, file);
  const time = columnOf(columns, ["TIMESTAMP"], file);
  const prompt = columnOf(columns, ["ContextTokens"], file);
  const output = columnOf(columns, ["GeneratedTokens"], file);
  const requests = rows.map(({ cells, where }) => ({
    atMs: parseTimestampMs(cells[time], where),
    promptTokens: parseCount(cells[prompt], "ContextTokens", where),
    outputTokens: parseCount(cells[output], "GeneratedTokens", where),
  }));
  return fromFirst(
    requests,
    rows.map((row) => row.where),
  );
}

/**
 * Mooncake traces: one JSON object per line with `timestamp` in milliseconds, `input_length` and
 * `output_length`; other fields are not read. Throws SimulatorInputError with the line.
 */
export function parseMooncakeJsonl(text: string, file: string): TracedRequest[] {
  const wheres: string[] = [];
  const requests: TracedRequest[] = [];
  for (const [index, line] of linesOf(text, file)) {
    const where = `${file}:${index + 1}`;
    const row = parseJsonObject(line, where);
    wheres.push(where);
    requests.push({
      atMs: parseCount(row["timestamp"], "timestamp", where),
      promptTokens: parseCount(row["input_length"], "input_length", where),
      outputTokens: parseCount(row["output_length"], "output_length", where),
    });
  }
  return fromFirst(requests, wheres);
}

/**
 * Lengths without times: CSV with a prompt column (`ContextTokens`, `est_prompt_tokens` or `prompt_tokens`)
 * and an output column (`GeneratedTokens`, `pred_tokens` or `output_tokens`). Throws SimulatorInputError.
 */
export function parseLengthsCsv(text: string, file: string): Lengths[] {
  const { columns, rows } = splitCsv(text, file);
  const prompt = columnOf(columns, ["ContextTokens", "est_prompt_tokens", "prompt_tokens"], file);
  const output = columnOf(columns, ["GeneratedTokens", "pred_tokens", "output_tokens"], file);
  return rows.map(({ cells, where }) => ({
    promptTokens: parseCount(cells[prompt], columns[prompt] ?? "prompt", where),
    outputTokens: parseCount(cells[output], columns[output] ?? "output", where),
  }));
}

export interface CsvRow {
  readonly cells: readonly string[];
  readonly where: string;
}

/** Plain CSV: none of these sources quotes a cell. Throws SimulatorInputError with the line. */
export function splitCsv(
  text: string,
  file: string,
): { columns: readonly string[]; rows: readonly CsvRow[] } {
  let columns: readonly string[] | null = null;
  const rows: CsvRow[] = [];
  for (const [index, line] of linesOf(text, file)) {
    const cells = line.split(",").map((cell) => cell.trim());
    const where = `${file}:${index + 1}`;
    if (columns === null) {
      columns = cells;
      continue;
    }
    if (cells.length !== columns.length)
      refuse(where, "", `has ${cells.length} cells, the header ${columns.length}`);
    rows.push({ cells, where });
  }
  if (columns === null || rows.length === 0) refuse(file, "", "has no rows");
  return { columns, rows };
}

/** Lines that are not blank, with their index; LF or CRLF. */
function linesOf(text: string, file: string): [number, string][] {
  const lines = text.split("\n").map((line, index): [number, string] => [index, line.trim()]);
  const filled = lines.filter(([, line]) => line !== "");
  if (filled.length === 0) refuse(file, "", "is empty");
  if (filled.length > MAX_ROWS) refuse(file, "", `has ${filled.length} rows; at most ${MAX_ROWS}`);
  return filled;
}

/** Index of the first column that has one of `names`. Throws SimulatorInputError. */
export function columnOf(columns: readonly string[], names: readonly string[], file: string): number {
  const index = columns.findIndex((column) => names.includes(column));
  if (index < 0) refuse(`${file}:1`, "", `needs a column ${names.join(" or ")}, has ${columns.join(", ")}`);
  return index;
}

function parseCount(value: unknown, field: string, where: string): number {
  const number = typeof value === "string" && value !== "" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isInteger(number) || number < 0 || number > 1e12) {
    refuse(where, field, `must be a whole number of at least 0, got ${JSON.stringify(value) ?? "nothing"}`);
  }
  return number;
}

function parseJsonObject(line: string, where: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    refuse(where, "", `is no JSON: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null) refuse(where, "", "must be a JSON object");
  return value as Record<string, unknown>;
}

const TIMESTAMP = /^(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(\.\d{1,9})?$/;

/** Milliseconds since 0000-03-01, fractions kept; only differences are used. */
function parseTimestampMs(text: string | undefined, where: string): number {
  const match = TIMESTAMP.exec(text ?? "");
  if (match === null) {
    refuse(
      where,
      "TIMESTAMP",
      `must look like 2023-11-16 18:15:46.6805900, got ${JSON.stringify(text ?? "")}`,
    );
  }
  const fields = match.slice(1, 7).map(Number);
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = fields;
  const bounds = [9999, 12, 31, 23, 59, 60];
  if (fields.some((value, i) => value > (bounds[i] ?? 0)) || month === 0 || day === 0) {
    refuse(where, "TIMESTAMP", `is no time: ${JSON.stringify(text)}`);
  }
  const minutes = (daysOf(year, month, day) * 24 + hour) * 60 + minute;
  return (minutes * 60 + second) * 1000 + Number(match[7] ?? 0) * 1000;
}

/** Days of the Gregorian calendar, counted in years that begin in March so that leap days come last. */
function daysOf(year: number, month: number, day: number): number {
  const shifted = month > 2 ? year : year - 1;
  const leapDays = Math.floor(shifted / 4) - Math.floor(shifted / 100) + Math.floor(shifted / 400);
  const dayOfYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1;
  return 365 * shifted + leapDays + dayOfYear;
}

/** Times from the first request on; refuses a trace that goes back in time. */
function fromFirst(requests: readonly TracedRequest[], wheres: readonly string[]): TracedRequest[] {
  const firstMs = requests[0]?.atMs ?? 0;
  let beforeMs = firstMs;
  return requests.map((request, index) => {
    if (request.atMs < beforeMs)
      refuse(wheres[index] ?? "", "", "lies before the row above it; rows must be in time order");
    beforeMs = request.atMs;
    return { ...request, atMs: request.atMs - firstMs };
  });
}
