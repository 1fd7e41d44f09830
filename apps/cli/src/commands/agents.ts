import type { AgentResource } from "@fulcrum/contracts/resources.js";
import type { Command } from "commander";
import { terminalWidth, type Io } from "../io.js";
import { pairsText, tableText } from "../text/table.js";
import { agoOf, latencyWords } from "../text/words.js";
import { apiCommand, given, groupCommand } from "./command.js";

export function addAgents(program: Command, io: Io): void {
  const group = groupCommand(
    program,
    "agents",
    "Agents: the daemons on the GPU nodes",
    "fulcrum agents list",
  );
  apiCommand(
    group,
    io,
    { usage: "list", summary: "List agents", examples: ["fulcrum agents list"] },
    async ({ api, io, show }) => {
      const { body, raw } = await api.call("listAgents", {});
      show(raw, () => table(body.items, io));
    },
  );
  apiCommand(
    group,
    io,
    { usage: "get <agent>", summary: "Show an agent", examples: ["fulcrum agents get node-17"] },
    async ({ api, io, show }, [agent]) => {
      const { body, raw } = await api.call("getAgent", { params: { agent: given(agent) } });
      show(raw, () =>
        pairsText([
          ["agent", body.name],
          ["node", body.node],
          ["version", body.agentVersion],
          ["instances", body.instances.join(", ") || "none"],
          ["last seen", agoOf(body.lastSeenAt, io.now())],
          ["clock skew", latencyWords(body.clockSkewMs)],
          ["conditions", body.conditions.join(", ") || "none"],
          ["since", agoOf(body.createdAt, io.now())],
        ]),
      );
    },
  );
}

function table(agents: readonly AgentResource[], io: Io): string {
  if (agents.length === 0) return "no agent has registered yet: fulcrum agent --help";
  return tableText(
    [
      { title: "agent" },
      { title: "node", cut: true },
      { title: "version" },
      { title: "instances", cut: true },
      { title: "last seen" },
      { title: "conditions", cut: true },
    ],
    agents.map((agent) => [
      agent.name,
      agent.node,
      agent.agentVersion,
      agent.instances.join(", "),
      agoOf(agent.lastSeenAt, io.now()),
      agent.conditions.join(", "),
    ]),
    terminalWidth(io),
  );
}
