/** `fulcrum evaluate`: plans, runs over the cores, tells what came of it and writes the report. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Results, type Row } from "@fulcrum/evaluation/results.js";
import { targetLines } from "@fulcrum/evaluation/targets.js";
import { World } from "@fulcrum/evaluation/world.js";
import { printJson, printLine, terminalWidth, type Io } from "../io.js";
import { onInterrupt } from "../local/interrupt.js";
import { tableText } from "../text/table.js";
import { decisionCost } from "./decision-cost.js";
import { figures } from "./figures/paper-figures.js";
import { loadWorld, type InputFiles } from "./inputs.js";
import { allRuns, gridRuns, type PlannedRun, type Selection } from "./plan.js";
import { runJobs } from "./pool/run-jobs.js";
import { progressOn } from "./progress.js";
import { kvSection } from "./report/kv-section.js";
import { reportJson } from "./report/report-json.js";
import { reportMarkdown } from "./report/report.js";
import { gridTable } from "./terminal-table.js";

export interface EvaluateOptions {
  readonly selection: Selection;
  /** Everything that the report is made of, whatever is selected. */
  readonly all: boolean;
  readonly files: InputFiles;
  /** Null: one for each core. */
  readonly workers: number | null;
  readonly json: boolean;
  /** Null: no report is written. */
  readonly out: string | null;
  /** The command line, for the report. */
  readonly command: string;
}

export async function runEvaluate(io: Io, options: EvaluateOptions): Promise<void> {
  const world = new World(loadWorld(options.files));
  const { selection } = options;
  const runs = options.all
    ? allRuns(selection, selection.seeds.length, (scenario) => world.has(scenario))
    : gridRuns(selection);
  const interrupt = onInterrupt(io);
  try {
    const results = new Results(await rowsOf(io, runs, options, interrupt.signal));
    if (options.json) printJson(io, results.rows);
    else printLine(io, gridTable(results, world, terminalWidth(io)));
    if (options.out !== null) writeReport(io, { results, world, folder: options.out, options });
  } finally {
    interrupt.release();
  }
}

async function rowsOf(
  io: Io,
  runs: readonly PlannedRun[],
  options: EvaluateOptions,
  signal: AbortSignal,
): Promise<readonly Row[]> {
  const progress = progressOn(io.stderr, runs.length, () => io.now());
  const jobs = runs.map((run) => run.job);
  const workers = options.workers ?? availableParallelism();
  const poolOptions = { files: options.files, workers, signal, onDone: (n: number) => progress.update(n) };
  try {
    const results = await runJobs(jobs, poolOptions);
    return results.map((result, i) => {
      const { section, variant, contender, job } = runs[i] as PlannedRun;
      return { section, variant, contender, setting: job.setting, result };
    });
  } finally {
    progress.end();
  }
}

/** Written by hand; the report leads to it. */
const TRIED = "tried.md";

interface ToWrite {
  readonly results: Results;
  readonly world: World;
  readonly folder: string;
  readonly options: EvaluateOptions;
}

function writeReport(io: Io, { results, world, folder, options }: ToWrite): void {
  const cost = results.contenders("grid").includes("search") ? decisionCost(world) : null;
  const targets = targetLines(results, cost);
  const drawn = figures(results, world);
  mkdirSync(folder, { recursive: true });
  const tried = existsSync(join(folder, TRIED)) ? TRIED : null;
  const { command } = options;
  const report = reportMarkdown({ results, world, targets, figures: drawn, tried, command });
  writeFileSync(join(folder, "report.md"), report);
  writeFileSync(join(folder, "report.json"), reportJson(results, world, targets));
  for (const figure of drawn) writeFileSync(join(folder, figure.file), figure.svg);
  if (options.all) writeFileSync(join(folder, "kv.md"), kvReport(world));
  if (options.json) return;
  const columns = [
    { title: "target", cut: true },
    { title: "wanted" },
    { title: "measured", cut: true },
    { title: "" },
  ];
  const lines = targets.map(({ measure, wanted, measured, verdict }) => [measure, wanted, measured, verdict]);
  printLine(io, `\n${tableText(columns, lines, terminalWidth(io))}`);
  printLine(io, `\nThe report is in ${join(folder, "report.md")}.`);
}

/** Studies of their own, in this thread: under a minute. */
function kvReport(world: World): string {
  return `${["# KV memory: a quota inside one instance, lending between several", "", ...kvSection(world, { quick: false })].join("\n")}\n`;
}
