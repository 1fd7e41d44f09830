import { writeFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { Option, type Command } from "commander";
import { usageError } from "../failure.js";
import { printJson, printLine, type Io } from "../io.js";
import { groupCommand, localCommand } from "./command.js";
import { addSimulatorStudies } from "./simulator-studies.js";

interface CheckOptions {
  readonly profile: string;
  readonly data?: string;
  readonly out?: string;
  readonly quick?: boolean;
  readonly json?: boolean;
}

export function addSimulator(program: Command, io: Io): void {
  const group = groupCommand(
    program,
    "simulator",
    "How far the simulator can be trusted",
    "fulcrum simulator check --out docs/simulator.md",
  );
  localCommand<CheckOptions>(
    group,
    {
      usage: "check",
      summary: "The simulator against every measured or published figure there is, and what depends on what",
      examples: [
        "fulcrum simulator check --quick",
        "fulcrum simulator check --out docs/simulator.md",
        "fulcrum simulator check --profile my-gpu.json --json",
      ],
      options: [
        new Option("--profile <profile>", "a bundled profile's name or a file").default("llama3-8b-a100"),
        new Option("--data <folder>", "measured length sets (or FULCRUM_DATA_DIR)"),
        new Option("--out <file>", "write the report there; else it is printed"),
        new Option(
          "--quick",
          "fewer requests and no sensitivity study: some 20 seconds instead of up to 3 minutes",
        ),
        new Option("--json", "print every figure as JSON"),
      ],
    },
    async (_args, options) => check(io, options),
  );
  addSimulatorStudies(group, io);
}

async function check(io: Io, options: CheckOptions): Promise<void> {
  // Loaded only here: the other commands need no simulator.
  const { dataDirOf } = await import("../evaluate/inputs.js");
  const { loadCheckInputs, runCheck } = await import("../simulator-check/run-check.js");
  const { reportJson, reportMarkdown, summary } = await import("../simulator-check/report-text.js");
  const { FULL, QUICK } = await import("../simulator-check/section.js");
  const inputs = loadCheckInputs(options.profile, dataDirOf(options.data, io.env));
  const report = runCheck(inputs, {
    effort: options.quick === true ? QUICK : FULL,
    nowMs: () => performance.now(),
    note: (text) => void io.stderr.write(`fulcrum simulator check: ${text}\n`),
  });
  const markdown = reportMarkdown(report);
  if (options.out !== undefined) {
    try {
      writeFileSync(options.out, markdown);
    } catch (error) {
      throw usageError(`--out: ${options.out} cannot be written: ${(error as Error).message}`);
    }
  }
  if (options.json === true) printJson(io, reportJson(report));
  else if (options.out === undefined) io.stdout.write(markdown);
  else printLine(io, [...summary(report), `Wrote ${options.out}.`].join("\n"));
}
