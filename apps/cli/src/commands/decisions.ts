import type { DecisionSummary } from "@fulcrum/contracts/resources.js";
import { Option, type Command } from "commander";
import { refuseUnknownFilter } from "../api/explain.js";
import { failed } from "../failure.js";
import { terminalWidth, type Io } from "../io.js";
import { tableText } from "../text/table.js";
import { agoOf, allocationWords } from "../text/words.js";
import { apiCommand, given, groupCommand } from "./command.js";
import { decisionText } from "./decision-text.js";
import {
  cursorOption,
  instanceOption,
  limitOption,
  listFooter,
  poolOption,
  type ListOptions,
} from "./list-options.js";
import { verifyDecisions, type VerifyReport } from "./verify-decisions.js";

interface DecisionListOptions extends ListOptions {
  readonly kind?: "move" | "hold";
  readonly reason?: string;
  readonly from?: string;
  readonly to?: string;
}

export function addDecisions(program: Command, io: Io): void {
  const group = groupCommand(
    program,
    "decisions",
    "Decisions: what was decided, from what, and why",
    "fulcrum decisions list --kind move",
  );
  addReads(group, io);
  apiCommand<ListOptions>(
    group,
    io,
    {
      usage: "verify",
      summary: "Run every stored decision again and compare; exit code 1 on any difference",
      examples: ["fulcrum decisions verify", "fulcrum decisions verify --pool chat-8b"],
      options: [poolOption(), instanceOption()],
    },
    async ({ api, show }, _args, { pool, instance }) => {
      const report = await verifyDecisions(api, { pool, instance });
      if (report.checked === 0 && report.otherVersions.length === 0)
        await refuseUnknownFilter(api, { pool, instance });
      show(report, () => verifyText(report));
      if (report.different.length > 0) {
        throw failed(`${report.different.length} of ${report.checked} decisions came out differently`);
      }
    },
  );
}

function addReads(group: Command, io: Io): void {
  apiCommand<DecisionListOptions>(
    group,
    io,
    {
      usage: "list",
      summary: "Search decisions, newest first",
      examples: ["fulcrum decisions list --pool chat-8b --kind move --limit 20"],
      options: [
        poolOption(),
        instanceOption(),
        new Option("--kind <kind>", "move or hold").choices(["move", "hold"]),
        new Option("--reason <code>", "only with this reason code, such as TTFT_MISSED"),
        new Option("--from <time>", "not before this instant, such as 2026-11-22T12:00:00Z"),
        new Option("--to <time>", "not after this instant"),
        limitOption(),
        cursorOption(),
      ],
    },
    async ({ api, io, show }, _args, options) => {
      const { body, raw } = await api.call("listDecisions", { query: { ...options } });
      if (body.items.length === 0) await refuseUnknownFilter(api, options);
      show(raw, () => decisionTable(body.items, io) + listFooter(body.nextCursor));
    },
  );
  apiCommand(
    group,
    io,
    {
      usage: "get <id>",
      summary: "Show a decision with what it saw, its candidates and guards",
      examples: ["fulcrum decisions get 0199f0c2-…", "fulcrum decisions get 0199f0c2-… --json"],
    },
    async ({ api, io, show }, [id]) => {
      const { body, raw } = await api.call("getDecision", { params: { id: given(id) } });
      show(raw, () => decisionText(body, io.now(), terminalWidth(io)));
    },
  );
}

function decisionTable(decisions: readonly DecisionSummary[], io: Io): string {
  if (decisions.length === 0) return "no decisions match";
  return tableText(
    [
      { title: "when" },
      { title: "instance" },
      { title: "kind" },
      { title: "reason" },
      { title: "allocation" },
      { title: "outcome" },
      { title: "message", cut: true },
      { title: "id" },
    ],
    decisions.map((each) => [
      agoOf(each.at, io.now()),
      each.instance,
      each.kind,
      each.reason,
      allocationWords(each.allocation),
      each.outcome,
      each.message,
      each.id,
    ]),
    terminalWidth(io),
  );
}

const MOST_SHOWN = 20;

export function verifyText({ checked, otherVersions, different }: VerifyReport): string {
  const lines = [`checked ${checked} decision${checked === 1 ? "" : "s"}: ${different.length} differ`];
  for (const { policy, version, here, decisions } of otherVersions) {
    lines.push(
      `not run again: ${decisions} by version ${version} of ${policy}; this release has version ${here}`,
    );
  }
  for (const each of different.slice(0, MOST_SHOWN)) {
    lines.push(
      `${each.id} of ${each.instance} at ${each.at}:`,
      ...each.differences.map((line) => `  ${line}`),
    );
  }
  if (different.length > MOST_SHOWN)
    lines.push(`and ${different.length - MOST_SHOWN} more: --json prints them all`);
  return lines.join("\n");
}
