import type { ApiKey, Role } from "@fulcrum/contracts/resources.js";
import { Option, type Command } from "commander";
import { terminalWidth, type Io } from "../io.js";
import { tableText } from "../text/table.js";
import { agoOf } from "../text/words.js";
import { apiCommand, given, groupCommand } from "./command.js";

export function addKeys(program: Command, io: Io): void {
  const group = groupCommand(
    program,
    "keys",
    "API keys (needs an admin key)",
    "fulcrum keys create grafana --role viewer",
  );
  apiCommand(
    group,
    io,
    { usage: "list", summary: "List API keys", examples: ["fulcrum keys list"] },
    async ({ api, io, show }) => {
      const { body, raw } = await api.call("listKeys", {});
      show(raw, () => table(body.items, io));
    },
  );
  apiCommand<{ role: Role; agent?: string }>(
    group,
    io,
    {
      usage: "create <name>",
      summary: "Create an API key; the key is shown once",
      examples: [
        "fulcrum keys create grafana --role viewer",
        "fulcrum keys create node-17 --role agent --agent node-17",
      ],
      options: [
        new Option("--role <role>", "viewer reads, operator changes, admin also manages keys, agent reports")
          .choices(["viewer", "operator", "admin", "agent"])
          .makeOptionMandatory(),
        new Option("--agent <agent>", "binds an agent key to this one agent"),
      ],
    },
    async ({ api, show }, [name], { role, agent }) => {
      const { body, raw } = await api.call("createKey", { body: { name: given(name), role, agent } });
      show(
        raw,
        () => `created ${body.role} key ${body.name} (${body.id}); it is shown this once:\n${body.key}`,
      );
    },
  );
  apiCommand(
    group,
    io,
    {
      usage: "revoke <id>",
      summary: "Revoke an API key",
      examples: ["fulcrum keys revoke 0199f0c2-…"],
    },
    async ({ api, show }, [id]) => {
      await api.call("revokeKey", { params: { id: given(id) } });
      show(null, () => `revoked key ${given(id)}`);
    },
  );
}

function table(keys: readonly ApiKey[], io: Io): string {
  return tableText(
    [
      { title: "name", cut: true },
      { title: "role" },
      { title: "agent" },
      { title: "state" },
      { title: "last used" },
      { title: "created" },
      { title: "by", cut: true },
      { title: "id" },
    ],
    keys.map((key) => [
      key.name,
      key.role,
      key.agent ?? "-",
      key.revokedAt === null ? "valid" : `revoked ${agoOf(key.revokedAt, io.now())}`,
      agoOf(key.lastUsedAt, io.now()),
      agoOf(key.createdAt, io.now()),
      key.createdBy,
      key.id,
    ]),
    terminalWidth(io),
  );
}
