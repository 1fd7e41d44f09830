import type { Capacity } from "@fulcrum/contracts/capacity.js";
import type { Command } from "commander";
import { terminalWidth, type Io } from "../io.js";
import { pairsText, tableText } from "../text/table.js";
import { trimmed } from "../text/words.js";
import { apiCommand, given } from "./command.js";

export function addCapacity(program: Command, io: Io): void {
  apiCommand(
    program,
    io,
    {
      usage: "capacity <pool>",
      summary: "How many instances would keep a pool's promise at the best split",
      examples: ["fulcrum capacity chat-8b", "fulcrum capacity chat-8b --json"],
    },
    async ({ api, io, show }, [pool]) => {
      const { body, raw } = await api.call("getCapacity", { params: { pool: given(pool) } });
      show(raw, () => capacityText(body, terminalWidth(io)));
    },
  );
}

export function capacityText(capacity: Capacity, width: number | null): string {
  const { pool, instances, needed, additional, headroom, known, perInstance, message } = capacity;
  const facts = pairsText([
    ["pool", pool],
    ["instances", String(instances)],
    ["needed", additional > 0 ? `${needed}, ${additional} more` : String(needed)],
    ["headroom", headroom === null ? "not known" : `${trimmed(headroom, 2)} times the present load`],
    ["told by", `${known} of ${instances}`],
  ]);
  if (perInstance.length === 0) return [message, "", facts].join("\n");
  const table = tableText(
    [
      { title: "instance" },
      { title: "headroom", right: true },
      { title: "requests/s", right: true },
      { title: "why", cut: true },
    ],
    perInstance.map((each) => [
      each.instance,
      each.headroom === null ? "-" : trimmed(each.headroom, 2),
      each.arrivalPerS === null ? "-" : trimmed(each.arrivalPerS, 2),
      each.why,
    ]),
    width,
  );
  return [message, "", facts, "", table].join("\n");
}
