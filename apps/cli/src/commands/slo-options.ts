import { sloTarget } from "@fulcrum/contracts/primitives.js";
import type { SloClass, SloTarget } from "@fulcrum/core/nouns.js";
import { Option } from "commander";
import { usageError } from "../failure.js";
import { readYaml } from "../text/yaml-file.js";
import { numberIn, shareOf } from "./command.js";

export interface SloOptions {
  readonly ttftMs?: number;
  readonly tpotMs?: number;
  readonly percentile?: number;
  readonly ttftPercentile?: number;
  readonly tpotPercentile?: number;
  readonly attainment?: number;
  /** A file of them; false: none. */
  readonly classes?: string | false;
}

const DEFAULT_PERCENTILE = 0.9;
const DEFAULT_ATTAINMENT = 0.9;

export function sloOptions(): Option[] {
  const bound = numberIn(0.001, 3_600_000);
  return [
    new Option("--ttft-ms <ms>", "bound of the time to first token").argParser(bound),
    new Option("--tpot-ms <ms>", "bound of the time per output token").argParser(bound),
    new Option("--percentile <p>", "percentile of both bounds: 0.9, 90% or p90").argParser(shareOf),
    new Option("--ttft-percentile <p>", "percentile of the TTFT bound alone").argParser(shareOf),
    new Option("--tpot-percentile <p>", "percentile of the TPOT bound alone").argParser(shareOf),
    new Option("--attainment <share>", "share of requests that must be within both bounds").argParser(
      shareOf,
    ),
    new Option(
      "--classes <file>",
      "further promises below this one, in order: a YAML or JSON list; - reads standard input",
    ),
    new Option("--no-classes", "promise nothing below this one"),
  ];
}

/** The target in force with what the options name changed. */
export function changedSlo(slo: SloTarget, options: SloOptions): SloTarget {
  const { ttftMs, tpotMs, percentile, ttftPercentile, tpotPercentile, attainment } = options;
  const classes = classesOf(slo, options);
  return {
    ttft: {
      percentile: ttftPercentile ?? percentile ?? slo.ttft.percentile,
      boundMs: ttftMs ?? slo.ttft.boundMs,
    },
    tpot: {
      percentile: tpotPercentile ?? percentile ?? slo.tpot.percentile,
      boundMs: tpotMs ?? slo.tpot.boundMs,
    },
    attainmentShare: attainment ?? slo.attainmentShare,
    ...(classes === undefined ? {} : { classes }),
  };
}

function classesOf(slo: SloTarget, { classes }: SloOptions): readonly SloClass[] | undefined {
  if (classes === false) return undefined;
  return classes === undefined ? slo.classes : readClasses(classes);
}

/** @throws CliFailure (usage) naming the file, the field and its bound */
function readClasses(file: string): readonly SloClass[] {
  const found = sloTarget.shape.classes.unwrap().safeParse(readYaml(file));
  if (found.success) return found.data;
  const [issue] = found.error.issues;
  const field = issue && issue.path.length > 0 ? `classes.${issue.path.join(".")}` : "classes";
  throw usageError(`${file}: ${field}: ${issue?.message ?? "must be a list of promises"}`, [
    "Each is such as {name: batch, ttft: {percentile: 0.9, boundMs: 5000}, tpot: {percentile: 0.9, boundMs: 150}, attainmentShare: 0.8}.",
  ]);
}

/** A target from options alone: both bounds are needed, the rest is p90 and 90 % where it is not said. */
export function newSlo(options: SloOptions): SloTarget {
  const { ttftMs, tpotMs } = options;
  if (ttftMs === undefined || tpotMs === undefined) {
    throw usageError("a new pool needs both bounds: --ttft-ms and --tpot-ms");
  }
  const blank = { percentile: DEFAULT_PERCENTILE, boundMs: 1 };
  return changedSlo({ ttft: blank, tpot: blank, attainmentShare: DEFAULT_ATTAINMENT }, options);
}

export function isSloChange(options: SloOptions): boolean {
  const { ttftMs, tpotMs, percentile, ttftPercentile, tpotPercentile, attainment, classes } = options;
  return [ttftMs, tpotMs, percentile, ttftPercentile, tpotPercentile, attainment, classes].some(
    (value) => value !== undefined,
  );
}
