import { Option, type Command } from "commander";
import type { Io } from "../io.js";
import { localCommand, wholeIn } from "./command.js";

export function addUp(program: Command, io: Io): void {
  localCommand<{ dataDir?: string; port: number; engines: number; databaseUrl?: string }>(
    program,
    {
      usage: "up",
      summary: "Run Fulcrum on this machine until Ctrl-C: Postgres, controller, agent, simulated engines",
      examples: ["fulcrum up", "fulcrum up --engines 0 --port 7171 --data-dir ./fulcrum-data"],
      options: [
        new Option(
          "--data-dir <folder>",
          "what outlives it (or FULCRUM_DATA_DIR; else this machine's usual place)",
        ),
        new Option("--port <port>", "of the API on 127.0.0.1; 0 picks a free one")
          .argParser(wholeIn(0, 65_535))
          .default(7_070),
        new Option("--engines <n>", "simulated engines, 0 to 16").argParser(wholeIn(0, 16)).default(1),
        new Option("--database-url <url>", "use this Postgres instead of the bundled one"),
      ],
    },
    async (_args, options) => {
      // Loaded only here: the other commands need no Postgres.
      const { runUp } = await import("../local/up.js");
      await runUp(io, options);
    },
  );
}
