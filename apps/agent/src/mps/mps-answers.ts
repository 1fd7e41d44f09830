/** What nvidia-cuda-mps-control prints, read by its headers (docs.nvidia.com/deploy/mps, release 615). */
import { MpsError } from "./mps-error.js";

export type ServerStatus = "ACTIVE" | "FAULT" | "INITIALIZING" | "MISSING";

export interface MpsServer {
  readonly name: string;
  readonly uid: number | null;
  /** null while the server is only configured. */
  readonly pid: number | null;
  readonly status: ServerStatus;
}

/** One client context. */
export interface MpsClient {
  /** As the control daemon's PID namespace counts, not that of a container. */
  readonly pid: number;
  /** v2: the server's PID. v3: its name. */
  readonly server: string;
  /** v2: a GPU's UUID, often only its beginning. v3: the ordinal. null where the tool does not tell. */
  readonly device: string | null;
  readonly namespace: string | null;
  readonly command: string;
}

/** Documented order of the columns, for an answer without a header. */
const SERVER_COLUMNS = ["name", "uid", "pid", "status", "pipe-directory", "allowed-devices", "context-ids"];
const CLIENT_COLUMNS = ["pid", "server", "device", "namespace", "command"];

/** v2 `get_server_list`, `get_client_list`: one PID a line. @throws MpsError bad_answer */
export function pidsOf(text: string): number[] {
  return linesOf(text).map((line) => pidOf(line, text));
}

/** A v2 word (`ACTIVE`) or a v3 one (`Ready`). @throws MpsError bad_answer */
export function statusOf(text: string): ServerStatus {
  const word = text.trim().toLowerCase();
  if (word === "active" || word === "ready") return "ACTIVE";
  if (word === "fault" || word === "faulted") return "FAULT";
  if (word === "initializing" || word === "initialising" || word === "starting") return "INITIALIZING";
  // Only configured: it starts with its first client.
  if (word === "-" || word === "configured" || word === "stopped") return "MISSING";
  throw unexpected("a server's status", text);
}

/** v3 `server list --format=csv`. @throws MpsError bad_answer */
export function serversOf(text: string): MpsServer[] {
  return csvRows(text, SERVER_COLUMNS).map((row) => ({
    name: cell(row, "name", text),
    uid: wholeOrNull(cell(row, "uid", text)),
    pid: wholeOrNull(cell(row, "pid", text)),
    status: statusOf(cell(row, "status", text)),
  }));
}

/** v3 `client list --format=csv`. @throws MpsError bad_answer */
export function clientsOfCsv(text: string): MpsClient[] {
  return csvRows(text, CLIENT_COLUMNS).map((row) => clientOf(row, text));
}

/** v2 `ps`: PID ID SERVER DEVICE NAMESPACE COMMAND, the command with its blanks. @throws MpsError bad_answer */
export function clientsOfPs(text: string): MpsClient[] {
  const [header, ...lines] = linesOf(text);
  const columns = header?.toLowerCase().split(/\s+/) ?? [];
  if (columns[0] !== "pid" || !columns.includes("server")) throw unexpected("the client list", text);
  return lines.map((line) => clientOf(rowOf(columns, line.split(/\s+/), " "), text));
}

/** `50`, `50.0`, `50%`; `-` means that none is set. @throws MpsError bad_answer */
export function percentageOf(text: string): number {
  const word = text.trim();
  if (word === "-") return 100;
  const value = Number(/^(\d+(?:\.\d+)?)\s*%?$/.exec(word)?.[1] ?? Number.NaN);
  if (value > 0 && value <= 100) return value;
  throw unexpected("an active thread percentage", text);
}

export function unexpected(what: string, text: string): MpsError {
  const shown = text.trim().slice(0, 200);
  return new MpsError(
    "bad_answer",
    `expected ${what}, the MPS tool said ${shown === "" ? "nothing" : JSON.stringify(shown)}`,
  );
}

type Row = ReadonlyMap<string, string>;

function csvRows(text: string, documented: readonly string[]): Row[] {
  const lines = linesOf(text);
  const first = lines[0]?.toLowerCase().split(",").map(trimmed) ?? [];
  const hasHeader = first.includes("pid");
  return lines
    .slice(hasHeader ? 1 : 0)
    .map((line) => rowOf(hasHeader ? first : documented, line.split(","), ","));
}

/** The last column takes what is left over: a command holds blanks and commas. */
function rowOf(columns: readonly string[], cells: readonly string[], glue: string): Row {
  const last = columns.length - 1;
  return new Map(
    columns.map((name, i) => [name, i === last ? cells.slice(i).join(glue).trim() : (cells[i] ?? "").trim()]),
  );
}

function clientOf(row: Row, text: string): MpsClient {
  return {
    pid: pidOf(cell(row, "pid", text), text),
    server: cell(row, "server", text),
    device: row.get("device") || null,
    namespace: row.get("namespace") || null,
    command: row.get("command") ?? row.get("cmd") ?? "",
  };
}

function cell(row: Row, name: string, text: string): string {
  const value = row.get(name);
  if (value === undefined || value === "") throw unexpected(`a column ${name}`, text);
  return value;
}

function pidOf(word: string, text: string): number {
  const pid = /^\d{1,10}$/.test(word.trim()) ? Number(word) : 0;
  if (pid < 1) throw unexpected("a PID", text);
  return pid;
}

function wholeOrNull(word: string): number | null {
  return /^\d{1,10}$/.test(word) ? Number(word) : null;
}

function linesOf(text: string): string[] {
  return text
    .split("\n")
    .map(trimmed)
    .filter((line) => line !== "");
}

function trimmed(text: string): string {
  return text.trim();
}
