import type { ReconfigurationResource, ReconfigurationSummary } from "@fulcrum/contracts/resources.js";
import { reconfigurationState } from "@fulcrum/contracts/resources.js";
import { Option, type Command } from "commander";
import { refuseUnknownFilter } from "../api/explain.js";
import { terminalWidth, type Io } from "../io.js";
import { pairsText, tableText } from "../text/table.js";
import { agoOf, allocationWords, latencyWords } from "../text/words.js";
import { apiCommand, given, groupCommand } from "./command.js";
import {
  cursorOption,
  instanceOption,
  limitOption,
  listFooter,
  poolOption,
  type ListOptions,
} from "./list-options.js";

type State = ReconfigurationSummary["state"];

export function addReconfigurations(program: Command, io: Io): void {
  const group = groupCommand(
    program,
    "reconfigurations",
    "Reconfigurations: how decisions were rolled out",
    "fulcrum reconfigurations list --instance chat-8b-0",
  );
  apiCommand<ListOptions & { state?: State }>(
    group,
    io,
    {
      usage: "list",
      summary: "Search reconfigurations, newest first",
      examples: ["fulcrum reconfigurations list --state rolled_back"],
      options: [
        poolOption(),
        instanceOption(),
        new Option("--state <state>", "only in this state").choices(reconfigurationState.options),
        limitOption(),
        cursorOption(),
      ],
    },
    async ({ api, io, show }, _args, options) => {
      const { body, raw } = await api.call("listReconfigurations", { query: { ...options } });
      if (body.items.length === 0) await refuseUnknownFilter(api, options);
      show(raw, () => table(body.items, io) + listFooter(body.nextCursor));
    },
  );
  apiCommand(
    group,
    io,
    {
      usage: "get <id>",
      summary: "Show a reconfiguration with its steps",
      examples: ["fulcrum reconfigurations get 0199f0c2-…"],
    },
    async ({ api, io, show }, [id]) => {
      const { body, raw } = await api.call("getReconfiguration", { params: { id: given(id) } });
      show(raw, () => text(body, io));
    },
  );
}

function table(items: readonly ReconfigurationSummary[], io: Io): string {
  if (items.length === 0) return "no reconfigurations match";
  return tableText(
    [
      { title: "started" },
      { title: "instance" },
      { title: "kind" },
      { title: "state" },
      { title: "gen", right: true },
      { title: "from" },
      { title: "to" },
      { title: "took", right: true },
      { title: "failure", cut: true },
      { title: "id" },
    ],
    items.map((each) => [
      agoOf(each.createdAt, io.now()),
      each.instance,
      each.kind,
      each.attempt > 1 ? `${each.state} (attempt ${each.attempt})` : each.state,
      String(each.generation),
      allocationWords(each.from),
      allocationWords(each.to),
      latencyWords(each.durationMs),
      each.failure ?? "",
      each.id,
    ]),
    terminalWidth(io),
  );
}

function text(one: ReconfigurationResource, io: Io): string {
  const startMs = Date.parse(one.createdAt);
  return [
    pairsText([
      ["reconfiguration", one.id],
      ["instance", `${one.instance} of pool ${one.pool}`],
      ["kind", one.kind],
      ["decision", one.decision ?? "-"],
      ["state", `${one.state}, attempt ${one.attempt}`],
      ["generation", `${one.from.generation} -> ${one.generation}`],
      ["change", `${allocationWords(one.from)} -> ${allocationWords(one.to)}`],
      ["started", agoOf(one.createdAt, io.now())],
      ["took", latencyWords(one.durationMs)],
      ["failure", one.failure ?? "-"],
      ["ranks", one.ranks.map(({ rank, step }) => `${rank} ${step ?? "nothing yet"}`).join(", ") || "-"],
    ]),
    tableText(
      [
        { title: "after", right: true },
        { title: "rank", right: true },
        { title: "attempt", right: true },
        { title: "step" },
        { title: "delivered" },
        { title: "detail", cut: true },
      ],
      one.steps.map((step) => [
        latencyWords(Date.parse(step.at) - startMs),
        step.rank === null ? "-" : String(step.rank),
        String(step.attempt),
        step.step,
        allocationWords(step.delivered),
        step.detail ?? "",
      ]),
      terminalWidth(io),
    ),
  ].join("\n\n");
}
