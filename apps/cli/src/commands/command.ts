import { Command, InvalidArgumentError, Option } from "commander";
import type { ApiClient } from "../api/client.js";
import { connect, type ConnectionOptions } from "../api/connection.js";
import { explained } from "../api/explain.js";
import { printJson, printLine, type Io } from "../io.js";

/** What a command that talks to the controller works with. */
export interface Session {
  readonly api: ApiClient;
  readonly io: Io;
  /** Prints the API's JSON with --json, else the text that `words` makes. */
  readonly show: (raw: unknown, words: () => string) => void;
}

export interface CommandSpec {
  /** As commander writes it: `get <pool>`. */
  readonly usage: string;
  readonly summary: string;
  readonly examples: readonly string[];
  readonly options?: readonly Option[];
}

/** A group such as `fulcrum pools`; alone it prints its help. */
export function groupCommand(program: Command, name: string, summary: string, example: string): Command {
  const group = program.command(name).summary(summary).description(`${summary}.`);
  group.copyInheritedSettings(program);
  group.addHelpText("after", `\nExample:\n  ${example}`);
  return group;
}

/** A command that runs here. `run` gets its arguments (absent ones as undefined) and options. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- commander's opts() are untyped; the caller says what its options give
export function localCommand<Options extends object>(
  parent: Command,
  spec: CommandSpec,
  run: (args: readonly (string | undefined)[], options: Options) => Promise<void>,
): Command {
  const command = parent.command(spec.usage).summary(spec.summary).description(`${spec.summary}.`);
  command.copyInheritedSettings(parent);
  for (const option of spec.options ?? []) command.addOption(option);
  const examples = spec.examples.map((example) => `  ${example}`).join("\n");
  command.addHelpText("after", `\nExample${spec.examples.length > 1 ? "s" : ""}:\n${examples}`);
  command.action(async () => {
    await run(command.processedArgs as (string | undefined)[], command.opts());
  });
  return command;
}

/** A command that talks to the controller: takes --url, --key and --json, before or after its name. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- commander's opts() are untyped; the caller says what its options give
export function apiCommand<Options extends object>(
  parent: Command,
  io: Io,
  spec: CommandSpec,
  run: (session: Session, args: readonly (string | undefined)[], options: Options) => Promise<void>,
): Command {
  const options = [...(spec.options ?? []), ...connectionOptions()];
  const command = localCommand<Options>(parent, { ...spec, options }, async (args, own) => {
    const all: ConnectionOptions & { json?: boolean } = { ...rootOf(parent).opts(), ...own };
    const api = connect(io, all);
    const show = (raw: unknown, words: () => string) =>
      all.json === true ? printJson(io, raw) : printLine(io, words());
    try {
      await run({ api, io, show }, args, own);
    } catch (error) {
      throw await explained(api, error);
    }
  });
  return command;
}

export function connectionOptions(): Option[] {
  return [
    new Option("--url <url>", "the controller's address (or FULCRUM_URL)"),
    new Option("--key <key>", "the API key (or FULCRUM_KEY, which does not show in the process list)"),
    new Option("--json", "print the API's JSON"),
  ];
}

/** Of `fulcrum` itself, before the command's name, so that they do not fill every command's help. */
export function tlsOptions(): Option[] {
  return [
    new Option("--ca-file <pem>", "trust this CA for https:// (or FULCRUM_CA_FILE)"),
    new Option("--client-cert <pem>", "show this client certificate (or FULCRUM_CLIENT_CERT_FILE)"),
    new Option("--client-key <pem>", "its key (or FULCRUM_CLIENT_KEY_FILE)"),
  ];
}

/** An argument that commander has made sure is there. */
export function given(value: string | undefined): string {
  if (value === undefined) throw new TypeError("a required argument is missing");
  return value;
}

/** Parses a whole or decimal number within bounds, both included. */
export function numberIn(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (!Number.isFinite(value) || value < least || value > most) {
      throw new InvalidArgumentError(`It must be a number from ${least} to ${most}.`);
    }
    return value;
  };
}

/** Parses a whole number within bounds, both included. */
export function wholeIn(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (!(value >= least && value <= most)) {
      throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
    }
    return value;
  };
}

/** Parses a share or percentile: `0.9`, `90%` and `p90` mean the same. */
export function shareOf(text: string): number {
  const match = /^(?:p(\d+(?:\.\d+)?)|(\d+(?:\.\d+)?)\s*%|(\d*\.?\d+))$/.exec(text.trim());
  const percent = match?.[1] ?? match?.[2];
  // 99.9 / 100 is 0.9990000000000001.
  const value = percent === undefined ? Number(match?.[3] ?? Number.NaN) : Number(`${percent}e-2`);
  if (!(value > 0 && value <= 1)) {
    throw new InvalidArgumentError("It must be a share such as 0.9, 90% or p90.");
  }
  return value;
}

/** Parses a duration with its unit, into milliseconds. */
export function durationMsOf(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)$/.exec(text.trim());
  const factor = { ms: 1, s: 1_000, min: 60_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[match?.[2] ?? ""];
  if (match === null || factor === undefined) {
    throw new InvalidArgumentError("It must be a duration such as 90s, 30min, 2h or 7d.");
  }
  return Math.round(Number(match[1]) * factor);
}

function rootOf(command: Command): Command {
  let root = command;
  while (root.parent !== null) root = root.parent;
  return root;
}
