import { Option, type Command } from "commander";
import type { Io } from "../io.js";
import { apiCommand, given } from "./command.js";

/** `fulcrum instances clear-degraded` and nothing else: why it is needed is in docs/outcomes.md. */
export function addClearDegraded(group: Command, io: Io): void {
  apiCommand<{ reason: string }>(
    group,
    io,
    {
      usage: "clear-degraded <instance>",
      summary: "Let an instance be decided on again that holds still after reverts in a row",
      examples: ['fulcrum instances clear-degraded chat-8b-0 --reason "engine updated"'],
      options: [new Option("--reason <text>", "why; it goes into the audit log").makeOptionMandatory()],
    },
    async ({ api, show }, [instance], { reason }) => {
      const { body, raw } = await api.call("clearDegraded", {
        params: { instance: given(instance) },
        query: { reason },
      });
      const left = body.conditions.length === 0 ? "no condition" : body.conditions.join(", ");
      show(raw, () => `${body.name} is decided on again; it has ${left}`);
    },
  );
}
