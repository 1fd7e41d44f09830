import { CONTENDER_NAMES, type ContenderName } from "@fulcrum/evaluation/contenders.js";
import { SCENARIOS } from "@fulcrum/evaluation/scenarios.js";
import { InvalidArgumentError, Option, type Command } from "commander";
import type { Selection } from "../evaluate/plan.js";
import { usageError } from "../failure.js";
import type { Io } from "../io.js";
import { suggestion } from "../text/near-names.js";
import { durationMsOf, localCommand, wholeIn } from "./command.js";

interface Options {
  readonly quick?: boolean;
  readonly all?: boolean;
  readonly workload?: readonly string[];
  readonly rates?: readonly number[];
  readonly seeds?: number;
  readonly policy?: readonly ContenderName[];
  readonly interval: number;
  readonly prepare: number;
  readonly profile?: string;
  readonly data?: string;
  readonly workers?: number;
  readonly json?: boolean;
  readonly out?: string;
}

const WORKLOADS = ["chat-tight", "documents-tight", "changing-kinds"];
const ALL_SEEDS = 5;
const OUT = "docs/evaluation";
const CONTENDERS: readonly ContenderName[] = ["100/100", "50/50", "feedback", "search"];

export function addEvaluate(program: Command, io: Io): void {
  localCommand<Options>(
    program,
    {
      usage: "evaluate",
      summary: "Policies under simulated loads: how many requests each keeps within both bounds",
      examples: [
        "fulcrum evaluate --quick",
        "fulcrum evaluate --workload chat-tight --rates 0.8,0.9,1 --policy 100/100,search --seeds 5",
        "fulcrum evaluate --all --out docs/evaluation",
      ],
      options: evaluateOptions(),
    },
    async (_args, options) => {
      const { quick, all } = options;
      const given = options.workload ?? options.rates ?? options.policy;
      if (all === true && (quick === true || given !== undefined)) {
        throw usageError("--all runs everything: it goes without --quick, --workload, --rates and --policy");
      }
      // Loaded only here: the other commands need no simulator.
      const { runEvaluate } = await import("../evaluate/run-evaluate.js");
      const { dataDirOf } = await import("../evaluate/inputs.js");
      await runEvaluate(io, {
        selection: selectionOf(options),
        all: all ?? false,
        out: options.out ?? (all === true ? OUT : null),
        command: commandOf(options),
        files: { profile: options.profile ?? null, dataDir: dataDirOf(options.data, io.env) },
        workers: options.workers ?? null,
        json: options.json ?? false,
      });
    },
  );
}

function selectionOf(options: Options): Selection {
  const usual = options.quick === true ? [0.9] : [0.7, 0.85, 0.95];
  return {
    workloads: options.workload ?? WORKLOADS,
    fractions: options.rates ?? usual,
    seeds: Array.from({ length: options.seeds ?? seedsOf(options) }, (_, i) => i + 1),
    contenders: options.policy ?? CONTENDERS,
    intervalMs: options.interval,
    prepareMs: options.prepare,
  };
}

function seedsOf({ quick, all }: Options): number {
  if (all === true) return ALL_SEEDS;
  return quick === true ? 1 : 3;
}

/** What was asked for, without where things lie on this machine. */
function commandOf(options: Options): string {
  const { quick, all, workload, rates, seeds, policy } = options;
  const flags = [
    ...(quick === true ? ["--quick"] : []),
    ...(all === true ? ["--all"] : []),
    ...(workload === undefined ? [] : ["--workload", workload.join(",")]),
    ...(rates === undefined ? [] : ["--rates", rates.join(",")]),
    ...(seeds === undefined ? [] : ["--seeds", String(seeds)]),
    ...(policy === undefined ? [] : ["--policy", policy.join(",")]),
  ];
  return ["fulcrum evaluate", ...flags].join(" ");
}

function evaluateOptions(): Option[] {
  const workloads = SCENARIOS.map((scenario) => scenario.name);
  return [
    new Option("--quick", "a short form: one rate and one seed, well under a minute"),
    new Option("--all", "everything that the report needs, up to 20 minutes on two cores"),
    new Option("--workload <names>", `some of ${workloads.join(", ")}`).argParser(namesOf(workloads)),
    new Option(
      "--rates <fractions>",
      "as parts of what one time-shared GPU sustains, such as 0.7,0.9",
    ).argParser(fractionsOf),
    new Option("--seeds <n>", "how many seeds; default 3, with --quick 1, with --all 5").argParser(
      wholeIn(1, 100),
    ),
    new Option("--policy <names>", `some of ${CONTENDER_NAMES.join(", ")}`).argParser(
      namesOf(CONTENDER_NAMES),
    ),
    new Option("--interval <duration>", "between two decisions, 100ms to 10min")
      .argParser(intervalMsOf)
      .default(5_000, "5s"),
    new Option("--prepare <duration>", "that a new split takes to prepare")
      .argParser(durationMsOf)
      .default(2_000, "2s"),
    new Option("--profile <file>", "another GPU and model"),
    new Option(
      "--data <folder>",
      "measured length sets and traces (or FULCRUM_DATA_DIR); none: the bundled tables",
    ),
    new Option("--workers <n>", "threads; default: one for each core").argParser(wholeIn(1, 256)),
    new Option("--json", "print every run as JSON"),
    new Option(
      "--out <folder>",
      "write report.md, report.json and the figures there; with --all: docs/evaluation",
    ),
  ];
}

function namesOf(known: readonly string[]): (text: string) => readonly string[] {
  return (text) => {
    const names = text.split(",").map((name) => name.trim());
    for (const name of names) {
      if (!known.includes(name))
        throw new InvalidArgumentError(`There is no ${name}. ${suggestion("name", name, known)}`);
    }
    return names;
  };
}

function intervalMsOf(text: string): number {
  const ms = durationMsOf(text);
  if (ms >= 100 && ms <= 600_000) return ms;
  throw new InvalidArgumentError("It must be from 100ms to 10min.");
}

function fractionsOf(text: string): readonly number[] {
  const fractions = text.split(",").map(Number);
  if (!fractions.every((fraction) => fraction >= 0.01 && fraction <= 3)) {
    throw new InvalidArgumentError("They must be numbers from 0.01 to 3, with commas in between.");
  }
  return fractions;
}
