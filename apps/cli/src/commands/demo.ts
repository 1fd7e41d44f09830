import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { Option, type Command } from "commander";
import { tellFigures } from "../demo/closing.js";
import { WORKLOAD, type Load } from "../demo/setting.js";
import { guessTraceFormat } from "../demo/trace-format.js";
import { usageError } from "../failure.js";
import type { Io } from "../io.js";
import { localCommand, numberIn, wholeIn } from "./command.js";

interface Options {
  readonly duration: number;
  readonly speed: number;
  readonly seed: number;
  readonly ttftMs: number;
  readonly tpotMs: number;
  readonly trace?: string;
  readonly traceFormat?: "azure" | "mooncake" | "lengths";
  readonly rate?: number;
  readonly rateScale?: number;
  readonly json?: string;
  readonly keep?: boolean;
  readonly virtual?: boolean;
}

const PERCENTILE = 0.9;

export function addDemo(program: Command, io: Io): void {
  localCommand<Options>(
    program,
    {
      usage: "demo",
      summary: "Four simulated engines with the same arrivals side by side, then who did best",
      examples: [
        "fulcrum demo",
        "fulcrum demo --duration 60 --seed 7 --json figures.json",
        "fulcrum demo --virtual --seed 7",
        "fulcrum demo --trace conversations.csv --trace-format azure --speed 10",
      ],
      options: demoOptions(),
    },
    async (_args, options) => {
      checkOptions(options);
      const setting = {
        durationS: options.duration,
        speed: options.speed,
        seed: options.seed,
        slo: {
          ttft: { percentile: PERCENTILE, boundMs: options.ttftMs },
          tpot: { percentile: PERCENTILE, boundMs: options.tpotMs },
          attainmentShare: PERCENTILE,
        },
        load: loadOf(options),
      };
      // Loaded only here: the other commands need neither the simulator nor Postgres.
      if (options.virtual === true) {
        const { virtualFigures } = await import("../demo/virtual.js");
        return tellFigures(io, virtualFigures(setting), options.json);
      }
      const { runDemo } = await import("../demo/run-demo.js");
      await runDemo(io, { ...setting, jsonFile: options.json, keep: options.keep ?? false });
    },
  );
}

/** What would only be found out when the demo is over. */
function checkOptions({ json, keep, virtual }: Options): void {
  if (keep === true && virtual === true) throw usageError("--keep has nothing to keep with --virtual");
  if (json === undefined) return;
  if (!existsSync(dirname(resolve(json))))
    throw usageError(`--json: there is no folder ${dirname(resolve(json))}`);
}

function demoOptions(): Option[] {
  const bound = numberIn(1, 3_600_000);
  return [
    new Option("--duration <s>", "how long, seconds of wall time, 5 to 3600")
      .argParser(wholeIn(5, 3_600))
      .default(90),
    new Option("--speed <k>", "engine seconds per second, 0.1 to 50").argParser(numberIn(0.1, 50)).default(4),
    new Option("--seed <n>", "of the arrivals").argParser(wholeIn(0, 4_294_967_295)).default(1),
    new Option("--ttft-ms <ms>", "bound of the time to first token at p90").argParser(bound).default(500),
    new Option("--tpot-ms <ms>", "bound of the time per output token at p90").argParser(bound).default(60),
    new Option("--trace <file>", "recorded requests instead of the bundled load"),
    new Option("--trace-format <format>", "what the file is, where its first lines do not tell").choices([
      "azure",
      "mooncake",
      "lengths",
    ]),
    new Option("--rate <r>", "requests per second, for a file of lengths").argParser(numberIn(0.01, 10_000)),
    new Option("--rate-scale <x>", "multiplies the arrival rate").argParser(numberIn(0.001, 1_000)),
    new Option("--virtual", "the simulator alone, in virtual time: done in seconds, without processes"),
    new Option("--json <file>", "write all figures to this file"),
    new Option("--keep", "leave everything running afterwards, until Ctrl-C"),
  ];
}

/** What the engines are to serve. @throws CliFailure about options that do not go together */
export function loadOf(options: Pick<Options, "trace" | "traceFormat" | "rate" | "rateScale">): Load {
  const { trace, rate, rateScale = 1 } = options;
  const scale = rateScale === 1 ? [] : ["--rate-scale", String(rateScale)];
  const scaled = rateScale === 1 ? "" : ` at ${rateScale} times its rate`;
  if (trace === undefined) {
    if (options.traceFormat !== undefined || rate !== undefined)
      throw usageError("--trace-format and --rate need --trace");
    const flags = ["--workload", WORKLOAD, ...scale];
    return { flags, name: `the bundled load ${WORKLOAD}${scaled}`, trace: null, rateScale };
  }
  if (!existsSync(trace)) throw usageError(`--trace: there is no file ${trace}`);
  const format = options.traceFormat ?? guessTraceFormat(trace);
  if (format === null) {
    throw usageError(
      `--trace: ${trace} looks like none of azure, mooncake, lengths; say which with --trace-format`,
    );
  }
  if ((format === "lengths") !== (rate !== undefined)) {
    throw usageError("--rate goes with --trace-format lengths, which carries no times, and only with it");
  }
  const flags = ["--trace", resolve(trace), "--trace-format", format, ...scale];
  return {
    flags: rate === undefined ? flags : [...flags, "--rate", String(rate)],
    name: `${trace}${scaled}${rate === undefined ? "" : ` at ${rate} req/s`}`,
    trace: { file: resolve(trace), format, ratePerS: rate ?? null },
    rateScale,
  };
}
