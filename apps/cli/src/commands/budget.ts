import type { Alert, Budget, BurnResource } from "@fulcrum/contracts/budgets.js";
import { Option, type Command } from "commander";
import { refuseUnknownFilter } from "../api/explain.js";
import { terminalWidth, type Io } from "../io.js";
import { pairsText, tableText } from "../text/table.js";
import { agoOf, durationWords, shareWords } from "../text/words.js";
import { apiCommand, given } from "./command.js";
import { cursorOption, limitOption, listFooter, poolOption, type ListOptions } from "./list-options.js";

export function addBudget(program: Command, io: Io): void {
  apiCommand(
    program,
    io,
    {
      usage: "budget <pool>",
      summary: "What is left of a pool's error budget, and how fast it is being spent",
      examples: ["fulcrum budget chat-8b", "fulcrum budget chat-8b --json"],
    },
    async ({ api, io, show }, [pool]) => {
      const { body, raw } = await api.call("getBudget", { params: { pool: given(pool) } });
      show(raw, () => budgetText(body, io));
    },
  );
}

export function addAlerts(program: Command, io: Io): void {
  apiCommand<ListOptions & { state?: "firing" | "resolved" }>(
    program,
    io,
    {
      usage: "alerts",
      summary: "Alerts of error budgets, newest first",
      examples: ["fulcrum alerts --state firing", "fulcrum alerts --pool chat-8b"],
      options: [
        new Option("--state <state>", "firing, resolved").choices(["firing", "resolved"]),
        poolOption(),
        limitOption(),
        cursorOption(),
      ],
    },
    async ({ api, io, show }, _args, query) => {
      const { body, raw } = await api.call("listAlerts", { query: { ...query } });
      if (body.items.length === 0) await refuseUnknownFilter(api, query);
      show(raw, () => alertTable(body.items, io) + listFooter(body.nextCursor));
    },
  );
}

function budgetText(budget: Budget, io: Io): string {
  const { pool, days, target, requests, within, spentShare, sinceMs } = budget;
  const pairs = pairsText([
    ["pool", pool],
    ["promise", `${shareWords(target)} of requests within both bounds, over ${days} days`],
    ["requests", `${Math.round(requests)}, ${shareWords(requests > 0 ? within / requests : null)} within`],
    ["spent", `${shareWords(spentShare)} of the budget`],
    ["counted since", sinceMs === null ? "-" : agoOf(new Date(sinceMs).toISOString(), io.now())],
  ]);
  return `${pairs}\n\n${burnTable(budget.burn, io)}\n\n${budget.message}`;
}

function burnTable(burn: readonly BurnResource[], io: Io): string {
  return tableText(
    [
      { title: "alert" },
      { title: "windows" },
      { title: "burn" },
      { title: "fires at" },
      { title: "state" },
      { title: "message", cut: true },
    ],
    burn.map((one) => [
      one.name,
      `${durationWords(one.longMs)}, ${durationWords(one.shortMs)}`,
      `${rateWords(one.longRate)}, ${rateWords(one.shortRate)}`,
      rateWords(one.threshold) + (one.loweredFrom === null ? "" : " (lowered)"),
      one.firing ? `would ${one.severity}` : "quiet",
      one.message,
    ]),
    terminalWidth(io),
  );
}

function rateWords(rate: number | null): string {
  return rate === null ? "-" : `${Number(rate.toPrecision(3))}x`;
}

function alertTable(alerts: readonly Alert[], io: Io): string {
  if (alerts.length === 0) return "no alerts match";
  return tableText(
    [
      { title: "since" },
      { title: "pool" },
      { title: "alert" },
      { title: "severity" },
      { title: "state" },
      { title: "message", cut: true },
      { title: "id" },
    ],
    alerts.map((each) => [
      agoOf(each.startedAt, io.now()),
      each.pool,
      each.name,
      each.severity,
      each.endedAt === null ? "firing" : `resolved ${agoOf(each.endedAt, io.now())}`,
      each.message,
      each.id,
    ]),
    terminalWidth(io),
  );
}
