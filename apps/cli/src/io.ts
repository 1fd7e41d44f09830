import type { Readable, Writable } from "node:stream";

/** What a command may touch of the process that it runs in, so that tests can run commands in their own. */
export interface Io {
  readonly stdin: Readable;
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number };
  readonly stderr: Writable;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Epoch milliseconds. */
  now(): number;
}

/** Columns of the terminal; null where the output is no terminal, and nothing needs to be cut. */
export function terminalWidth(io: Io): number | null {
  return io.stdout.isTTY === true ? (io.stdout.columns ?? 80) : null;
}

export function printLine(io: Io, line: string): void {
  io.stdout.write(`${line}\n`);
}

export function printJson(io: Io, value: unknown): void {
  io.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
