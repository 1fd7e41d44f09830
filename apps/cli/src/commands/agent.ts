import { existsSync } from "node:fs";
import { Option, type Command } from "commander";
import { EXIT, CliFailure, failed, usageError } from "../failure.js";
import { printJson, printLine, terminalWidth, type Io } from "../io.js";
import { runInForeground } from "../local/foreground.js";
import { appMain } from "../local/services.js";
import { localCommand } from "./command.js";
import { doctorText } from "./doctor-text.js";

export function addAgent(program: Command, io: Io): void {
  const agent = localCommand<{ config?: string; checkConfig?: boolean; statusPort?: string }>(
    program,
    {
      usage: "agent",
      summary: "Run the agent of a GPU node until it is stopped",
      examples: [
        "fulcrum agent --config /etc/fulcrum/agent.yaml",
        "fulcrum agent --config /etc/fulcrum/agent.yaml --check-config",
        "fulcrum agent doctor --config /etc/fulcrum/agent.yaml",
      ],
      options: [
        new Option("--config <agent.yaml>", "what it looks after (needed to run it)"),
        new Option("--check-config", "only check the file, then end"),
        new Option("--status-port <port>", "serve /status and /metrics on 127.0.0.1"),
      ],
    },
    async (_args, { config, checkConfig, statusPort }) => {
      if (config === undefined)
        throw usageError("--config <agent.yaml> is needed: it says what to look after");
      const script = appMain("agent");
      if (!existsSync(script))
        throw failed("the agent is not built yet: run npm ci (or npm run build) first");
      const flags = [
        ...(checkConfig ? ["--check-config"] : []),
        ...(statusPort === undefined ? [] : ["--status-port", statusPort]),
      ];
      const code = await runInForeground(script, ["--config", config, ...flags]);
      if (code !== EXIT.ok) throw new CliFailure(EXIT.failed, `the agent ended with exit code ${code}`);
    },
  );
  addDoctor(agent, io);
}

function addDoctor(agent: Command, io: Io): void {
  localCommand<{ config?: string; json?: boolean }>(
    agent,
    {
      usage: "doctor",
      summary: "Say what this node has, which drivers can work here, and what to fix",
      examples: ["fulcrum agent doctor", "fulcrum agent doctor --config /etc/fulcrum/agent.yaml --json"],
      options: [
        new Option("--config <agent.yaml>", "check its controller, engines and drivers too"),
        new Option("--json", "print the report as JSON"),
      ],
    },
    async (_args, { config, json }) => {
      const { runDoctor } = await import("@fulcrum/agent/doctor/run-doctor.js");
      const report = await runDoctor({ configPath: config ?? null, env: io.env });
      if (json === true) printJson(io, report);
      else printLine(io, doctorText(report, terminalWidth(io)));
      // The thread in the driver's call would keep this process for ever.
      const { hasHungCall } = await import("@fulcrum/agent/gpu/nvml.js");
      if (hasHungCall()) process.exit(report.usable ? EXIT.ok : EXIT.failed);
      if (!report.usable) throw failed("this node is not ready for the agent");
    },
  );
}
