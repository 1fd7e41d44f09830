import { InvalidArgumentError, Option, type Command } from "commander";
import { CliFailure, EXIT } from "../failure.js";
import { printJson, printLine, type Io } from "../io.js";
import { durationMsOf, groupCommand, localCommand } from "./command.js";

interface ConformanceCommandOptions {
  readonly exec: string;
  readonly resident?: string;
  readonly role: "prefill" | "decode" | "both";
  readonly attachTimeout: number;
  readonly gpuSmCount?: number;
  readonly json?: boolean;
}

export function addConformance(program: Command, io: Io): void {
  const group = groupCommand(
    program,
    "conformance",
    "Check that something of yours keeps to a documented protocol",
    'fulcrum conformance worker --exec "python my_worker.py"',
  );
  localCommand<ConformanceCommandOptions>(
    group,
    {
      usage: "worker",
      summary: "Drive a worker of your own through every step and fault of docs/worker-protocol.md",
      examples: [
        'fulcrum conformance worker --exec "python my_worker.py"',
        "fulcrum conformance worker --exec ./worker --resident ./resident --role decode --json",
      ],
      options: [
        new Option("--exec <command>", "starts one worker; run by /bin/sh").makeOptionMandatory(),
        new Option("--resident <command>", "starts the resident first; its address is FULCRUM_RESIDENT"),
        new Option("--role <role>", "which role's worker")
          .choices(["prefill", "decode", "both"])
          .default("both"),
        new Option("--attach-timeout <duration>", "longest wait for hello and for ready")
          .argParser(durationMsOf)
          .default(60_000, "60s"),
        new Option(
          "--gpu-sm-count <n>",
          "SMs of the GPU that they run on: each must see its share of them, rounded down to whole TPCs",
        ).argParser(smCountOf),
        new Option("--json", "print the report as JSON"),
      ],
    },
    async (_args, { exec, resident, role, attachTimeout, gpuSmCount, json }) => {
      const { runConformance } = await import("../conformance/run-conformance.js");
      const { reportText } = await import("../conformance/report-text.js");
      const report = await runConformance({
        exec,
        resident: resident ?? null,
        roles: role === "both" ? ["prefill", "decode"] : [role],
        attachMs: attachTimeout,
        gpuSmCount: gpuSmCount ?? null,
        env: io.env,
        note: (text) => void (json === true ? io.stderr.write(`fulcrum conformance: ${text}\n`) : undefined),
      });
      if (json === true) printJson(io, report);
      else printLine(io, reportText(report));
      if (!report.passed)
        throw new CliFailure(EXIT.failed, "the worker breaks a rule of the worker protocol");
    },
  );
}

function smCountOf(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 2 && value <= 10_000) return value;
  throw new InvalidArgumentError("It must be a whole number from 2 to 10000.");
}
