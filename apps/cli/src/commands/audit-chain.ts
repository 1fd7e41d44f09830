import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import { once } from "node:events";
import { createInterface } from "node:readline";
import {
  type ChainReport,
  checkpoint as checkpointSchema,
  type Checkpoint,
  limitsOf,
  verifyChain,
} from "@fulcrum/contracts/audit-chain.js";
import { auditEntry, type AuditEntry } from "@fulcrum/contracts/resources.js";
import { Option, type Command } from "commander";
import { z } from "zod";
import type { ApiClient } from "../api/client.js";
import { everyItem } from "../api/pages.js";
import { CliFailure, EXIT, failed, usageError } from "../failure.js";
import { jsonText, printLine, type Io } from "../io.js";
import { oneLine } from "../text/visible.js";
import { apiCommand } from "./command.js";

/** A row a second for three years. */
const MOST_ROWS = 100_000_000;
const MAX_CHECKPOINT_BYTES = 10_000;

interface VerifyOptions {
  readonly file?: string;
  readonly checkpoint?: readonly string[];
}

/** Reading the whole log: export, checkpoint, verify. */
export function addAuditChain(group: Command, io: Io): void {
  apiCommand(
    group,
    io,
    {
      usage: "export",
      summary: "Print the whole audit log, oldest first, one JSON row per line",
      examples: ["fulcrum audit export > audit.jsonl"],
    },
    async ({ api, io }) => {
      for await (const entry of wholeLog(api)) {
        if (!io.stdout.write(`${jsonText(entry)}\n`)) await once(io.stdout, "drain");
      }
    },
  );
  apiCommand(
    group,
    io,
    {
      usage: "checkpoint",
      summary:
        "Print the newest row's number and hash, to keep where nobody who can write the database can write",
      examples: ["fulcrum audit checkpoint > checkpoint-2026-11.json"],
    },
    async ({ api, io }) => {
      const { body } = await api.call("getAuditCheckpoint", {});
      printLine(io, JSON.stringify(body));
    },
  );
  apiCommand<VerifyOptions>(
    group,
    io,
    {
      usage: "verify",
      summary:
        "Hash every audit row again and check the chain; exit code 1 names each row at fault, 4 a checkpoint that cannot be checked",
      examples: [
        "fulcrum audit verify",
        "fulcrum audit verify --checkpoint checkpoint-2026-11.json",
        "fulcrum audit verify --file audit.jsonl",
      ],
      options: [
        new Option("--file <path>", "check an export instead of asking the controller"),
        new Option(
          "--checkpoint <path>",
          "what `audit checkpoint` printed earlier: finds a log that was cut off or written anew (may be repeated)",
        ).argParser((path: string, before: readonly string[] | undefined) => [...(before ?? []), path]),
      ],
    },
    async ({ api, show }, _args, { file, checkpoint = [] }) => {
      const entries = file === undefined ? wholeLog(api) : exported(file);
      const report = await verifyChain(entries, sha256, checkpoint.map(readCheckpoint));
      show(report, () => reportText(report));
      if (report.faultCount > 0) {
        const s = report.faultCount === 1 ? "" : "s";
        throw failed(`the audit log does not hold: ${report.faultCount} fault${s}`);
      }
      if (report.unchecked.length > 0) {
        const which = report.unchecked.map(({ seq }) => seq).join(", ");
        throw new CliFailure(
          EXIT.unchecked,
          `of row ${which} there is a checkpoint, and no row to hold it against`,
        );
      }
    },
  );
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function wholeLog(api: ApiClient): AsyncGenerator<AuditEntry> {
  return everyItem(api, "listAudit", { order: "asc" }, MOST_ROWS);
}

/** @throws CliFailure naming the line that is no row */
async function* exported(path: string): AsyncGenerator<AuditEntry> {
  const input = createReadStream(path, "utf8");
  const lines = createInterface({ input, crlfDelay: Infinity });
  let number = 0;
  try {
    for await (const line of lines) {
      number += 1;
      if (line.trim() === "") continue;
      const row = auditEntry.safeParse(parsed(line));
      if (!row.success) {
        const issue = row.error.issues[0];
        throw usageError(
          `${path}:${number}: not an audit row: ${issue?.path.join(".") ?? ""} ${issue?.message}`,
        );
      }
      yield row.data;
    }
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === undefined
      ? error
      : usageError(`${path}: ${String(error)}`);
  }
}

function readCheckpoint(path: string): Checkpoint {
  let text: string;
  try {
    text = readFileSync(path, "utf8").slice(0, MAX_CHECKPOINT_BYTES);
  } catch (error) {
    throw usageError(`--checkpoint ${path}: ${(error as Error).message}`);
  }
  const found = checkpointSchema.safeParse(parsed(text));
  if (found.success) return found.data;
  throw usageError(`--checkpoint ${path}: ${z.prettifyError(found.error)}`);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function reportText(report: ChainReport): string {
  const { rows, first, last, faults, faultCount, checked } = report;
  if (last === null && faultCount === 0) return "the audit log is empty";
  const lines = faults.map(
    ({ seq, kind, message }) => `${kind.padEnd(10)} ${String(seq).padStart(8)}  ${oneLine(message)}`,
  );
  if (faultCount > faults.length) lines.push(`… and ${faultCount - faults.length} more`);
  const verdict = faultCount === 0 ? "each fits its hash and the row before" : `${faultCount} at fault`;
  if (last) lines.push(`${rows} rows, ${first} to ${last.seq}: ${verdict}`);
  if (checked.length > 0) lines.push(`checkpoints found: ${checked.map(({ seq }) => seq).join(", ")}`);
  return [...lines, ...limitsOf(report).map(oneLine)].join("\n");
}
