import { guessTraceFormat } from "../demo/trace-format.js";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { Option, type Command } from "commander";
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
}

const WORKLOAD = "chat-and-documents";
const PERCENTILE = 0.9;

export function addDemo(program: Command, io: Io): void {
  localCommand<Options>(
    program,
    {
      usage: "demo",
      summary: "Three simulated engines with the same arrivals side by side, then who did best",
      examples: [
        "fulcrum demo",
        "fulcrum demo --duration 60 --seed 7 --json figures.json",
        "fulcrum demo --trace conversations.csv --trace-format azure --speed 10",
      ],
      options: demoOptions(),
    },
    async (_args, options) => {
      const load = loadOf(options);
      // Loaded only here: the other commands need no Postgres.
      const { runDemo } = await import("../demo/run-demo.js");
      await runDemo(io, {
        durationS: options.duration,
        speed: options.speed,
        seed: options.seed,
        slo: {
          ttft: { percentile: PERCENTILE, boundMs: options.ttftMs },
          tpot: { percentile: PERCENTILE, boundMs: options.tpotMs },
          attainmentShare: PERCENTILE,
        },
        load,
        jsonFile: options.json,
        keep: options.keep ?? false,
      });
    },
  );
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
    new Option("--json <file>", "write all figures to this file"),
    new Option("--keep", "leave everything running afterwards, until Ctrl-C"),
  ];
}

/** The engines' flags of the load, and what the closing table calls it. */
export function loadOf(options: Pick<Options, "trace" | "traceFormat" | "rate" | "rateScale">): {
  flags: string[];
  name: string;
} {
  const { trace, rate, rateScale } = options;
  const scale = rateScale === undefined ? [] : ["--rate-scale", String(rateScale)];
  const scaled = rateScale === undefined ? "" : ` at ${rateScale} times its rate`;
  if (trace === undefined) {
    if (options.traceFormat !== undefined || rate !== undefined)
      throw usageError("--trace-format and --rate need --trace");
    return { flags: ["--workload", WORKLOAD, ...scale], name: `the bundled load ${WORKLOAD}${scaled}` };
  }
  if (!existsSync(trace)) throw usageError(`--trace: there is no file ${trace}`);
  const traceFormat = options.traceFormat ?? guessTraceFormat(trace);
  if (traceFormat === null) {
    throw usageError(
      `--trace: ${trace} looks like none of azure, mooncake, lengths; say which with --trace-format`,
    );
  }
  if ((traceFormat === "lengths") !== (rate !== undefined)) {
    throw usageError("--rate goes with --trace-format lengths, which carries no times, and only with it");
  }
  const flags = ["--trace", resolve(trace), "--trace-format", traceFormat, ...scale];
  return {
    flags: rate === undefined ? flags : [...flags, "--rate", String(rate)],
    name: `${trace}${scaled}${rate === undefined ? "" : ` at ${rate} req/s`}`,
  };
}
