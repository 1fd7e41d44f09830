import { Argument, type Command } from "commander";
import type { ApiClient } from "../api/client.js";
import { connect, type ConnectionOptions } from "../api/connection.js";
import { complete, type Named } from "../completion/complete.js";
import { FILES, type Shell, shellScript, SHELLS } from "../completion/scripts.js";
import type { Io } from "../io.js";

/** Somebody waits with a finger on the key. */
const NAMES_WITHIN_MS = 1_000;
const MOST_NAMES = 500;

export function addCompletion(program: Command, io: Io): void {
  const summary = "Print a script that completes commands, options and names";
  const command = program.command("completion").summary(summary).description(`${summary}.`);
  command.copyInheritedSettings(program);
  command.addArgument(new Argument("<shell>", "the shell").choices(SHELLS));
  command.addHelpText(
    "after",
    "\nExamples:\n  source <(fulcrum completion bash)\n  fulcrum completion fish | source",
  );
  command.action((shell: Shell) => void io.stdout.write(shellScript(shell)));
  const answer = program.command("__complete [words...]", { hidden: true });
  answer.copyInheritedSettings(program);
  answer.action(async (words: readonly string[]) => {
    const lines = await answerLines(program, io, words);
    io.stdout.write(lines.map((line) => `${line}\n`).join(""));
  });
}

/** A line per candidate, its description after a tab. */
async function answerLines(program: Command, io: Io, words: readonly string[]): Promise<string[]> {
  const [before, typed] = [words.slice(0, -1), words.at(-1) ?? ""];
  const { candidates, named, files } = complete(program, before, typed);
  const names = named === null ? [] : await namesOf(io, named, before);
  return [
    ...candidates.map(({ value, description }) => `${value}\t${description.split("\n")[0]}`),
    ...names.filter((name) => name.startsWith(typed)).map((name) => `${name}\t`),
    ...(files ? [FILES] : []),
  ];
}

/** What the controller calls things; nothing where it cannot be asked in time, for whatever reason. */
async function namesOf(io: Io, named: Named, words: readonly string[]): Promise<string[]> {
  try {
    return await ask(connect(io, connectionIn(words), NAMES_WITHIN_MS), named);
  } catch {
    return [];
  }
}

async function ask(api: ApiClient, named: Named): Promise<string[]> {
  if (named === "pools") return (await api.call("listPools", {})).body.items.map(({ name }) => name);
  if (named === "agents") return (await api.call("listAgents", {})).body.items.map(({ name }) => name);
  const { body } = await api.call("listInstances", { query: { limit: MOST_NAMES } });
  return body.items.map(({ name }) => name);
}

/** The connection that the line itself names. */
function connectionIn(words: readonly string[]): ConnectionOptions {
  const after = (flag: string) => {
    const at = words.indexOf(flag);
    return at < 0 ? undefined : words.slice(at + 1).find((word) => word !== "=");
  };
  return {
    url: after("--url"),
    key: after("--key"),
    caFile: after("--ca-file"),
    clientCert: after("--client-cert"),
    clientKey: after("--client-key"),
  };
}
