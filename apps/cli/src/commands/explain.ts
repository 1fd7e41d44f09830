import type { Command } from "commander";
import { terminalWidth, type Io } from "../io.js";
import { apiCommand, given } from "./command.js";
import { explainText } from "./explain-text.js";

export function addExplain(program: Command, io: Io): void {
  apiCommand(
    program,
    io,
    {
      usage: "explain <decision>",
      summary: "What a decision saw, weighed and chose, how it was rolled out and how it turned out",
      examples: ["fulcrum explain 0199f0c2-…", "fulcrum explain 0199f0c2-… --json"],
    },
    async ({ api, io, show }, [id]) => {
      const decision = await api.call("getDecision", { params: { id: given(id) } });
      const { reconfiguration } = decision.body;
      const rollout =
        reconfiguration === null
          ? null
          : await api.call("getReconfiguration", { params: { id: reconfiguration } });
      show({ decision: decision.raw, reconfiguration: rollout?.raw ?? null }, () =>
        explainText(decision.body, rollout?.body ?? null, io.now(), terminalWidth(io)),
      );
    },
  );
}
