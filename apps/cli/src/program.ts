import { Command, CommanderError } from "commander";
import { addAgent } from "./commands/agent.js";
import { addAgents } from "./commands/agents.js";
import { addApply } from "./commands/apply.js";
import { addAudit } from "./commands/audit.js";
import { addAlerts, addBudget } from "./commands/budget.js";
import { connectionOptions, tlsOptions } from "./commands/command.js";
import { addCanary } from "./commands/canary.js";
import { addCapacity } from "./commands/capacity.js";
import { addCompletion } from "./commands/completion.js";
import { addConformance } from "./commands/conformance.js";
import { addDecide } from "./commands/decide.js";
import { addDecisions } from "./commands/decisions.js";
import { addDemo } from "./commands/demo.js";
import { addEvaluate } from "./commands/evaluate.js";
import { addExplain } from "./commands/explain.js";
import { addHolds, addPause } from "./commands/holds.js";
import { addInstances } from "./commands/instances.js";
import { addKeys } from "./commands/keys.js";
import { addOpenapi } from "./commands/openapi.js";
import { addPools } from "./commands/pools.js";
import { addProfile } from "./commands/profile.js";
import { addProposals } from "./commands/proposals.js";
import { addReconfigurations } from "./commands/reconfigurations.js";
import { addReplay } from "./commands/replay.js";
import { addSimulator } from "./commands/simulator.js";
import { addSlo } from "./commands/slo.js";
import { addUp } from "./commands/up.js";
import { addWebhooks } from "./commands/webhooks.js";
import { EXIT, exitCodeOf, failureText, type ExitCode } from "./failure.js";
import type { Io } from "./io.js";
import { VERSION } from "./version.js";

const FOOTER = `
Exit codes:
  0  done
  1  the controller refused, or something failed
  2  the command line is wrong
  3  the controller cannot be reached
  4  nothing was found wrong, but part of what was asked could not be checked
  130  stopped by Ctrl-C

Example:
  fulcrum demo                 see it work: four simulated engines side by side
  fulcrum up                   run it on this machine
  fulcrum pools list           then, in another terminal`;

export function createProgram(io: Io): Command {
  const program = new Command("fulcrum");
  program
    .description("SLO-aware control of how prefill and decode share each GPU.")
    .version(VERSION, "--version", "print the version")
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .exitOverride()
    .configureHelp({ helpWidth: io.stdout.isTTY === true ? (io.stdout.columns ?? 80) : 100 })
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, "fulcrum: ")),
    })
    .addHelpText("after", FOOTER);
  for (const option of [...connectionOptions(), ...tlsOptions()]) program.addOption(option);
  const adders = [addDemo, addUp, addPools, addSlo, addInstances, addDecisions, addReconfigurations];
  const offline = [addProfile, addSimulator];
  for (const add of [
    ...adders,
    ...offline,
    addApply,
    addPause,
    addHolds,
    addProposals,
    addCanary,
    addBudget,
    addCapacity,
    addAlerts,
    addWebhooks,
    addExplain,
    addReplay,
    addAgents,
    addKeys,
    addAudit,
    addDecide,
    addEvaluate,
    addConformance,
    addAgent,
    addOpenapi,
    addCompletion,
  ])
    add(program, io);
  return program;
}

/** Runs one command line (without node and script) and returns what the process should end with. */
export async function runCli(args: readonly string[], io: Io): Promise<ExitCode> {
  try {
    await createProgram(io).parseAsync(args, { from: "user" });
    return EXIT.ok;
  } catch (error) {
    // commander has written its own message; 0 is --help and --version.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    io.stderr.write(failureText(error));
    return exitCodeOf(error);
  }
}
