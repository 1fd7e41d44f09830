/** What may stand next on a command line, from the program itself: nothing here knows a command by name. */
import type { Argument, Command, Option } from "commander";

export interface Candidate {
  readonly value: string;
  readonly description: string;
}

/** Things that the controller knows by name. */
export type Named = "pools" | "instances" | "agents";

export interface Completion {
  readonly candidates: readonly Candidate[];
  /** Names that fit here too, where the controller can be asked. */
  readonly named: Named | null;
  /** Whether a file's name may stand here. */
  readonly files: boolean;
}

const NOTHING: Completion = { candidates: [], named: null, files: false };

const NAMED: Readonly<Record<string, Named>> = { pool: "pools", instance: "instances", agent: "agents" };

/**
 * `words`: those before the one that is being typed, without the program's own name. `current`: what of that one is there.
 * bash splits `--mode=ob` at the sign; the three words mean the same as two.
 */
export function complete(program: Command, words: readonly string[], current: string): Completion {
  const typed = current === "=" ? "" : current;
  const { command, pending, positionals } = walk(
    program,
    words.filter((word) => word !== "="),
  );
  if (pending !== null) return matching(ofOption(pending), typed);
  if (typed.startsWith("-")) return matching(optionsOf(command), typed);
  const inner = command.commands.length > 0 && positionals === 0 ? commandsOf(command) : [];
  const argument = argumentAt(command, positionals);
  const own = argument === undefined ? NOTHING : ofArgument(argument);
  return matching({ ...own, candidates: [...inner, ...own.candidates] }, typed);
}

/** The command that the words lead to, an option that still lacks its value, and how many arguments were given. */
function walk(program: Command, words: readonly string[]) {
  let command = program;
  let pending: Option | null = null;
  let positionals = 0;
  for (const word of words) {
    if (pending !== null) pending = null;
    else if (word.startsWith("-")) {
      const option = optionNamed(command, word.split("=")[0]!);
      pending = option && takesValue(option) && !word.includes("=") ? option : null;
    } else {
      const inner: Command | undefined = command.commands.find(
        (one) => one.name() === word || one.aliases().includes(word),
      );
      if (inner === undefined) positionals += 1;
      command = inner ?? command;
    }
  }
  return { command, pending, positionals };
}

function optionNamed(command: Command, flag: string): Option | null {
  return command.options.find(({ long, short }) => long === flag || short === flag) ?? null;
}

function takesValue(option: Option): boolean {
  return option.required || option.optional;
}

function commandsOf(command: Command): Candidate[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .map((one) => ({ value: one.name(), description: one.summary() || one.description() }));
}

function optionsOf(command: Command): Completion {
  const candidates = command
    .createHelp()
    .visibleOptions(command)
    .map(({ long, short, description }) => ({ value: long ?? short ?? "", description }));
  return { ...NOTHING, candidates };
}

function ofOption(option: Option): Completion {
  return {
    candidates: choices(option.argChoices),
    named: NAMED[option.name()] ?? null,
    files: /<[^>]*(?:file|folder|path|dir|pem|\.(?:yaml|json|csv))[^>]*>/i.test(option.flags),
  };
}

function ofArgument(argument: Argument): Completion {
  return { ...NOTHING, candidates: choices(argument.argChoices), named: NAMED[argument.name()] ?? null };
}

function argumentAt({ registeredArguments }: Command, index: number): Argument | undefined {
  const last = registeredArguments.at(-1);
  return registeredArguments[index] ?? (last?.variadic ? last : undefined);
}

function choices(given: readonly string[] | undefined): Candidate[] {
  return (given ?? []).map((value) => ({ value, description: "" }));
}

function matching(completion: Completion, typed: string): Completion {
  return { ...completion, candidates: completion.candidates.filter(({ value }) => value.startsWith(typed)) };
}
