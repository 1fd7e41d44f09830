import { visible } from "./text/visible.js";

/** What the process ends with; `fulcrum --help` says so too. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  /** Nothing was found wrong, and something that was asked could not be looked at. */
  unchecked: 4,
  // As a shell tells of a program that Ctrl-C has ended: 128 and the number of SIGINT.
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Something to tell the person, without a stack trace. `details` are printed below, one a line. */
export class CliFailure extends Error {
  constructor(
    readonly exitCode: ExitCode,
    message: string,
    readonly details: readonly string[] = [],
  ) {
    super(message);
    this.name = "CliFailure";
  }
}

export function failed(message: string, details: readonly string[] = []): CliFailure {
  return new CliFailure(EXIT.failed, message, details);
}

export function usageError(message: string, details: readonly string[] = []): CliFailure {
  return new CliFailure(EXIT.usage, message, details);
}

/** The text for the error stream: `fulcrum: <message>`, then each detail on an indented line of its own. */
export function failureText(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const details = error instanceof CliFailure ? error.details : [];
  return visible([`fulcrum: ${message}`, ...details.map((line) => `  ${line}`), ""].join("\n"));
}

export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof CliFailure ? error.exitCode : EXIT.failed;
}
