import type { Command } from "commander";
import { stringify } from "yaml";
import { settingsOf } from "../apply/plan.js";
import type { Io } from "../io.js";
import { apiCommand } from "./command.js";

export function addExport(group: Command, io: Io): void {
  apiCommand(
    group,
    io,
    {
      usage: "export [pool]",
      summary: "Print a pool, or all of them, as YAML that `fulcrum apply` takes",
      examples: ["fulcrum pools export > pools.yaml", "fulcrum pools export chat-8b"],
    },
    async ({ api, show }, [pool]) => {
      const pools =
        pool === undefined
          ? (await api.call("listPools", {})).body.items
          : [(await api.call("getPool", { params: { pool } })).body];
      const settings = pools.map(settingsOf);
      show(settings, () =>
        settings.length === 0
          ? "# there are no pools yet\npools: []"
          : settings
              .map((one) => stringify(one, { lineWidth: 0 }))
              .join("---\n")
              .trimEnd(),
      );
    },
  );
}
