import type { AuditEntry } from "@fulcrum/contracts/resources.js";
import { isRecord } from "@fulcrum/core/signal/fault.js";
import { Option, type Command } from "commander";
import { terminalWidth, type Io } from "../io.js";
import { leafChanges, valueWords } from "../text/changes.js";
import { tableText } from "../text/table.js";
import { agoOf } from "../text/words.js";
import { addAuditChain } from "./audit-chain.js";
import { apiCommand, groupCommand } from "./command.js";
import { cursorOption, limitOption, listFooter, type ListOptions } from "./list-options.js";

interface AuditOptions extends ListOptions {
  readonly action?: string;
  readonly subject?: string;
  readonly actor?: string;
}

export function addAudit(program: Command, io: Io): void {
  const group = groupCommand(
    program,
    "audit",
    "The audit log: who changed what",
    "fulcrum audit list --subject pool/chat-8b",
  );
  apiCommand<AuditOptions>(
    group,
    io,
    {
      usage: "list",
      summary: "Search the audit log, newest first",
      examples: ["fulcrum audit list --subject pool/chat-8b --limit 20"],
      options: [
        new Option("--action <action>", "only this action, such as slo.set"),
        new Option("--subject <subject>", "only about this, such as pool/chat-8b"),
        new Option("--actor <actor>", "only by this one"),
        limitOption(),
        cursorOption(),
      ],
    },
    async ({ api, io, show }, _args, options) => {
      const { body, raw } = await api.call("listAudit", { query: { ...options } });
      show(raw, () => table(body.items, io) + listFooter(body.nextCursor));
    },
  );
  addAuditChain(group, io);
}

function table(entries: readonly AuditEntry[], io: Io): string {
  if (entries.length === 0) return "no audit entries match";
  return tableText(
    [
      { title: "seq", right: true },
      { title: "when" },
      { title: "actor", cut: true },
      { title: "action" },
      { title: "subject", cut: true },
      { title: "change", cut: true },
    ],
    entries.map((entry) => [
      String(entry.seq),
      agoOf(entry.at, io.now()),
      entry.actor,
      entry.action,
      entry.subject,
      changeWords(entry.before, entry.after),
    ]),
    terminalWidth(io),
  );
}

/** Which fields changed, with both values: "slo.ttft.boundMs 300 -> 250". */
export function changeWords(before: unknown, after: unknown): string {
  if (!isRecord(before)) return isRecord(after) ? "new" : "";
  if (!isRecord(after)) return "gone";
  return leafChanges(before, after)
    .filter(({ field }) => !NOISE.has(field))
    .map(({ field, from, to }) => `${field} ${valueWords(from)} -> ${valueWords(to)}`)
    .join(", ");
}

/** These change with every write and say nothing. */
const NOISE = new Set(["version", "updatedAt", "createdAt", "sloVersion"]);
