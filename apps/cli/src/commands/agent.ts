import { existsSync } from "node:fs";
import { Option, type Command } from "commander";
import { EXIT, CliFailure, failed } from "../failure.js";
import type { Io } from "../io.js";
import { runInForeground } from "../local/foreground.js";
import { appMain } from "../local/services.js";
import { localCommand } from "./command.js";

export function addAgent(program: Command, _io: Io): void {
  localCommand<{ config: string; checkConfig?: boolean; statusPort?: string }>(
    program,
    {
      usage: "agent",
      summary: "Run the agent of a GPU node until it is stopped",
      examples: [
        "fulcrum agent --config /etc/fulcrum/agent.yaml",
        "fulcrum agent --config /etc/fulcrum/agent.yaml --check-config",
      ],
      options: [
        new Option("--config <agent.yaml>", "what it looks after").makeOptionMandatory(),
        new Option("--check-config", "only check the file, then end"),
        new Option("--status-port <port>", "serve /status and /metrics on 127.0.0.1"),
      ],
    },
    async (_args, { config, checkConfig, statusPort }) => {
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
}
