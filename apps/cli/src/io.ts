import type { Readable, Writable } from "node:stream";
import { escaped, UNSAFE, visible } from "./text/visible.js";

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

/** Lines of words. What others wrote (reasons, names, an engine's message) may be in them: it is made visible. */
export function printLine(io: Io, line: string): void {
  io.stdout.write(`${visible(line)}\n`);
}

export function printJson(io: Io, value: unknown): void {
  io.stdout.write(`${jsonText(value, 2)}\n`);
}

/** JSON says escapes of its own below U+0020 only; the others here stand within strings, where \uXXXX is the same. */
export function jsonText(value: unknown, indent = 0): string {
  return JSON.stringify(value, null, indent).replace(UNSAFE, escaped);
}
