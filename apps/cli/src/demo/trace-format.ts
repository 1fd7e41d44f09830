import { closeSync, openSync, readSync } from "node:fs";

export type TraceFormat = "azure" | "mooncake" | "lengths";

/** The header and a first row fit well within this. */
const HEAD_BYTES = 4_096;

/** What a trace file is, from its first lines; null when they fit none. The formats: apps/engine-sim/data/README.md. */
export function guessTraceFormat(file: string): TraceFormat | null {
  const [header = "", row = ""] = head(file).split(/\r?\n/);
  if (header.startsWith("{")) return /"input_length"/.test(header) ? "mooncake" : null;
  const columns = header.split(",").map((column) => column.trim());
  if (columns.includes("est_prompt_tokens")) return "lengths";
  if (!columns.includes("ContextTokens") || !columns.includes("GeneratedTokens")) return null;
  // Sets of lengths carry the same columns, with a time that is none.
  const at = row.split(",")[columns.indexOf("TIMESTAMP")] ?? "";
  return /^\d{4}-\d{2}-\d{2}/.test(at) ? "azure" : "lengths";
}

function head(file: string): string {
  const descriptor = openSync(file, "r");
  try {
    const buffer = Buffer.alloc(HEAD_BYTES);
    return buffer.toString("utf8", 0, readSync(descriptor, buffer, 0, HEAD_BYTES, 0));
  } finally {
    closeSync(descriptor);
  }
}
