import { SimulatorInputError } from "./input-check.js";
import { columnOf, splitCsv, type CsvRow } from "./trace-formats.js";

/** One measured step at all SMs: `batchSize` prompts of `length` tokens, or sequences with `length` tokens of context. */
export interface StepPoint {
  readonly batchSize: number;
  readonly length: number;
  readonly ms: number;
}

/** Step times of one model on one GPU or group. */
export interface StepPoints {
  /** What the rows call themselves: model, system and tp where there are such columns. */
  readonly label: string;
  /** GPUs of the group, where there is a tp column. */
  readonly tp: number | null;
  readonly prefill: readonly StepPoint[];
  readonly decode: readonly StepPoint[];
}

/** One pair of steps at a cap on the SMs, alone on the GPU; null: not run. */
export interface SmSharePoint extends Omit<StepPoint, "ms"> {
  /** (0, 100]. */
  readonly smPct: number;
  readonly prefillMs: number | null;
  readonly decodeMs: number | null;
}

export interface SmSharePoints {
  readonly label: string;
  readonly points: readonly SmSharePoint[];
}

/** Which rows of a file to take; null: all, which must then be of one kind. */
export interface RowFilter {
  readonly model: string | null;
  readonly tp: number | null;
}

/**
 * Reads step times: CSV with the columns `phase` (prefill or decode), `batch_size`, `len_or_ctx_per_seq` and `ms`,
 * and optionally `model`, `system` and `tp`. Repeated measurements of a place are all kept. Throws
 * SimulatorInputError that names the rows it cannot read, or the kinds to choose from.
 */
export function parseStepPoints(text: string, file: string, filter: RowFilter): StepPoints {
  const table = new Table(text, file, filter);
  const cell = table.reader(["phase", "batch_size", "len_or_ctx_per_seq", "ms"]);
  const prefill: StepPoint[] = [];
  const decode: StepPoint[] = [];
  table.each((row) => {
    const phase = cell(row, "phase");
    const to = phase === "prefill" ? prefill : phase === "decode" ? decode : null;
    if (to === null) return `phase must be prefill or decode, got ${JSON.stringify(phase)}`;
    const batchSize = positive(cell(row, "batch_size"));
    const length = positive(cell(row, "len_or_ctx_per_seq"));
    const ms = positive(cell(row, "ms"));
    if (batchSize === null || length === null || ms === null)
      return "batch_size, len_or_ctx_per_seq and ms must be above 0";
    to.push({ batchSize, length, ms });
    return null;
  });
  return { label: table.label, tp: table.tp, prefill, decode };
}

/**
 * Reads step times against SM caps: CSV with the columns `sm_pct`, `batch_size`, `seq_len`, `prefill_ms` and
 * `decode_step_ms`, an empty time meaning not run, and optionally `model`, `system` and `tp`. Throws
 * SimulatorInputError like parseStepPoints.
 */
export function parseSmSharePoints(text: string, file: string, filter: RowFilter): SmSharePoints {
  const table = new Table(text, file, filter);
  const cell = table.reader(["sm_pct", "batch_size", "seq_len", "prefill_ms", "decode_step_ms"]);
  const points: SmSharePoint[] = [];
  table.each((row) => {
    const smPct = positive(cell(row, "sm_pct"));
    const batchSize = positive(cell(row, "batch_size"));
    const length = positive(cell(row, "seq_len"));
    if (smPct === null || smPct > 100) return "sm_pct must be above 0 and at most 100";
    if (batchSize === null || length === null) return "batch_size and seq_len must be above 0";
    const [prefill, decode] = [cell(row, "prefill_ms"), cell(row, "decode_step_ms")];
    const [prefillMs, decodeMs] = [positive(prefill), positive(decode)];
    if ((prefill !== "" && prefillMs === null) || (decode !== "" && decodeMs === null))
      return "prefill_ms and decode_step_ms must be above 0, or empty where not run";
    points.push({ smPct, batchSize, length, prefillMs, decodeMs });
    return null;
  });
  return { label: table.label, points };
}

/** Bad rows that are named; more are counted. */
const NAMED_ROWS = 5;

/** The rows of one kind (model, system, tp) of a CSV file. */
class Table {
  readonly label: string;
  readonly tp: number | null;
  readonly #columns: readonly string[];
  readonly #rows: readonly CsvRow[];

  constructor(
    text: string,
    private readonly file: string,
    filter: RowFilter,
  ) {
    const { columns, rows } = splitCsv(text, file);
    this.#columns = columns;
    const kindOf = (row: CsvRow) =>
      ["model", "system", "tp"].map((name) => row.cells[columns.indexOf(name)] ?? "");
    const groups = new Map<string, { readonly kind: readonly string[]; readonly rows: CsvRow[] }>();
    for (const row of rows) {
      const kind = kindOf(row);
      const group = groups.get(kind.join("\n")) ?? { kind, rows: [] };
      group.rows.push(row);
      groups.set(kind.join("\n"), group);
    }
    const fitting = [...groups.values()].filter(
      ({ kind: [model, , tp] }) =>
        (filter.model === null || model === filter.model) &&
        (filter.tp === null || tp === "" || Number(tp) === filter.tp),
    );
    const [only, ...others] = fitting;
    if (only === undefined || others.length > 0) {
      const known = [...groups.values()].map(({ kind }) => kindText(kind)).join("; ");
      throw new SimulatorInputError(
        only === undefined
          ? `${file}: no row is of the model or tp asked for; it has ${known}`
          : `${file}: has ${fitting.length} kinds of rows; say which model or tp: ${known}`,
      );
    }
    this.#rows = only.rows;
    this.label = kindText(only.kind);
    this.tp = positive(only.kind[2] ?? "");
  }

  /** Looks up cells by column. Throws SimulatorInputError when a column is missing. */
  reader<Name extends string>(names: readonly Name[]): (row: CsvRow, name: Name) => string {
    const at = new Map(names.map((name) => [name, columnOf(this.#columns, [name], this.file)]));
    return (row, name) => row.cells[at.get(name) ?? -1] ?? "";
  }

  /** `take` says what is wrong with a row, or null. Throws SimulatorInputError naming the rows at fault. */
  each(take: (row: CsvRow) => string | null): void {
    const faults = this.#rows.flatMap((row) => {
      const fault = take(row);
      return fault === null ? [] : [`${row.where}: ${fault}`];
    });
    if (faults.length === 0) return;
    const more = faults.length > NAMED_ROWS ? `; and ${faults.length - NAMED_ROWS} more rows` : "";
    throw new SimulatorInputError(`${faults.slice(0, NAMED_ROWS).join("; ")}${more}`);
  }
}

function kindText([model = "", system = "", tp = ""]: readonly string[]): string {
  const parts = [model, system, tp === "" ? "" : `tp ${tp}`].filter((part) => part !== "");
  return parts.length === 0 ? "unnamed" : parts.join(", ");
}

function positive(text: string): number | null {
  const value = text === "" ? Number.NaN : Number(text);
  return Number.isFinite(value) && value > 0 ? value : null;
}
