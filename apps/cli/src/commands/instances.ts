import type { Instance } from "@fulcrum/contracts/resources.js";
import type { Window } from "@fulcrum/core/nouns.js";
import { percentile } from "@fulcrum/core/signal/histogram.js";
import { Option, type Command } from "commander";
import { refuseUnknownFilter } from "../api/explain.js";
import { terminalWidth, type Io } from "../io.js";
import { pairsText, tableText } from "../text/table.js";
import { ageWords, agoOf, allocationWords, latencyWords, shareWords, trimmed } from "../text/words.js";
import { addManualControl } from "./manual-control.js";
import { addClearDegraded } from "./clear-degraded.js";
import { apiCommand, durationMsOf, given, groupCommand } from "./command.js";
import { cursorOption, limitOption, listFooter, poolOption, type ListOptions } from "./list-options.js";

export function addInstances(program: Command, io: Io): void {
  const group = groupCommand(
    program,
    "instances",
    "Instances: the engines and what they run",
    "fulcrum instances list --pool chat-8b",
  );
  addReads(group, io);
  addClearDegraded(group, io);
  apiCommand<{ reason: string; for?: number }>(
    group,
    io,
    {
      usage: "pin <instance>",
      summary: "Hold an instance at its allocation",
      examples: ['fulcrum instances pin chat-8b-0 --for 2h --reason "load test"'],
      options: [
        new Option("--reason <text>", "why; it goes into the audit log").makeOptionMandatory(),
        new Option("--for <duration>", "30min, 2h, 7d; without it the pin stays until unpinned").argParser(
          durationMsOf,
        ),
      ],
    },
    async ({ api, io, show }, [instance], options) => {
      const { body, raw } = await api.call("pinInstance", {
        params: { instance: given(instance) },
        body: { reason: options.reason, ttlMs: options.for ?? null },
      });
      const until =
        body.pinnedUntil === null ? "until it is unpinned" : `ends ${agoOf(body.pinnedUntil, io.now())}`;
      show(raw, () => `pinned ${body.name} at ${allocationWords(body.desired)} (${until})`);
    },
  );
  apiCommand(
    group,
    io,
    {
      usage: "unpin <instance>",
      summary: "Let the policy move the instance again",
      examples: ["fulcrum instances unpin chat-8b-0"],
    },
    async ({ api, show }, [instance]) => {
      const { body, raw } = await api.call("unpinInstance", { params: { instance: given(instance) } });
      show(raw, () => `unpinned ${body.name}`);
    },
  );
  addManualControl(group, io);
  apiCommand(
    group,
    io,
    {
      usage: "delete <instance>",
      summary: "Forget an instance; its engine keeps its split",
      examples: ["fulcrum instances delete chat-8b-0"],
    },
    async ({ api, show }, [instance]) => {
      await api.call("deleteInstance", { params: { instance: given(instance) } });
      show(null, () => `deleted instance ${given(instance)}`);
    },
  );
}

function addReads(group: Command, io: Io): void {
  apiCommand<ListOptions>(
    group,
    io,
    {
      usage: "list",
      summary: "List instances",
      examples: ["fulcrum instances list --pool chat-8b"],
      options: [poolOption(), limitOption(), cursorOption()],
    },
    async ({ api, io, show }, _args, { pool, limit, cursor }) => {
      const { body, raw } = await api.call("listInstances", { query: { pool, limit, cursor } });
      if (body.items.length === 0) await refuseUnknownFilter(api, { pool });
      show(raw, () => instanceTable(body.items, io) + listFooter(body.nextCursor));
    },
  );
  apiCommand(
    group,
    io,
    { usage: "get <instance>", summary: "Show an instance", examples: ["fulcrum instances get chat-8b-0"] },
    async ({ api, io, show }, [instance]) => {
      const { body, raw } = await api.call("getInstance", { params: { instance: given(instance) } });
      show(raw, () => instanceText(body, io.now()));
    },
  );
  apiCommand<ListOptions>(
    group,
    io,
    {
      usage: "windows <instance>",
      summary: "The newest measured windows, newest first",
      examples: ["fulcrum instances windows chat-8b-0 --limit 20"],
      options: [limitOption()],
    },
    async ({ api, io, show }, [instance], { limit }) => {
      const { body, raw } = await api.call("listWindows", {
        params: { instance: given(instance) },
        query: { limit },
      });
      show(raw, () =>
        windowTable(
          body.items.map(({ window }) => window),
          io,
        ),
      );
    },
  );
}

function instanceTable(instances: readonly Instance[], io: Io): string {
  if (instances.length === 0) return "there are no instances: agents register them";
  return tableText(
    [
      { title: "instance" },
      { title: "pool" },
      { title: "asked" },
      { title: "delivered" },
      { title: "gen", right: true },
      { title: "rollout" },
      { title: "last decision", cut: true },
      { title: "last window" },
    ],
    instances.map((each) => [
      each.name,
      each.pool,
      allocationWords(each.desired),
      allocationWords(each.observed),
      String(each.desired.generation),
      [each.rollout ?? "-", ...(each.pinned ? ["pinned"] : []), ...each.conditions].join(", "),
      each.lastDecision === null ? "-" : `${each.lastDecision.reason}: ${each.lastDecision.message}`,
      agoOf(each.lastWindowAt, io.now()),
    ]),
    terminalWidth(io),
  );
}

function instanceText(instance: Instance, nowMs: number): string {
  const { capabilities, lastDecision } = instance;
  const generated = (each: Instance["desired"] | null) =>
    each === null ? "-" : `${allocationWords(each)}, generation ${each.generation}`;
  return pairsText([
    ["instance", instance.name],
    ["pool", `${instance.pool} (${instance.mode})`],
    ["ranks", `${instance.rankCount}, agents ${instance.agents.join(", ") || "none"}`],
    [
      "driver",
      `${capabilities.driver}, ${capabilities.live ? "moves without a stop" : "needs a restart to move"}`,
    ],
    ["asked", generated(instance.desired)],
    ["delivered", `${generated(instance.observed)} (read back ${agoOf(instance.observedAt, nowMs)})`],
    ["last good", generated(instance.lastGood)],
    ["rollout", instance.rollout ?? "-"],
    ["pinned", pinWords(instance, nowMs)],
    ["conditions", instance.conditions.join(", ") || "none"],
    ...instance.bucketWarnings.map((warning): [string, string] => ["buckets", warning]),
    ["last window", agoOf(instance.lastWindowAt, nowMs)],
    [
      "last decision",
      lastDecision === null
        ? "none yet"
        : `${lastDecision.kind} ${lastDecision.reason} ${agoOf(lastDecision.at, nowMs)}: ${lastDecision.message}`,
    ],
    ["decision id", lastDecision?.id ?? "-"],
  ]);
}

function pinWords(instance: Instance, nowMs: number): string {
  if (!instance.pinned) return "no";
  return instance.pinnedUntil === null
    ? "yes, until unpinned"
    : `yes, ends ${agoOf(instance.pinnedUntil, nowMs)}`;
}

function windowTable(windows: readonly Window[], io: Io): string {
  if (windows.length === 0) return "no windows have been reported yet";
  const perS = (count: number, window: Window) => trimmed((count * 1_000) / window.durationMs, 1);
  const at = (histogram: Window["ttft"], q: number) => {
    const found = percentile(histogram, q);
    return found === null ? "-" : `${found.overflow ? "> " : ""}${latencyWords(found.ms)}`;
  };
  return tableText(
    [
      { title: "seq", right: true },
      { title: "ended" },
      { title: "gen", right: true },
      { title: "req/s", right: true },
      { title: "done/s", right: true },
      { title: "TTFT p50", right: true },
      { title: "p90", right: true },
      { title: "TPOT p50", right: true },
      { title: "p90", right: true },
      { title: "waiting", right: true },
      { title: "running", right: true },
      { title: "KV", right: true },
    ],
    windows.map((window) => [
      String(window.seq),
      ageWords(window.endAtMs, io.now()),
      String(window.generation ?? "-"),
      perS(window.arrivals, window),
      perS(window.finished, window),
      at(window.ttft, 0.5),
      at(window.ttft, 0.9),
      at(window.tpot, 0.5),
      at(window.tpot, 0.9),
      String(window.queue.prefillWaiting ?? "-"),
      String(window.queue.decodeRunning ?? "-"),
      kvShareWords(window),
    ]),
    terminalWidth(io),
  );
}

function kvShareWords({ kv }: Window): string {
  if (kv.usedTokens === null || kv.totalTokens === null || kv.totalTokens === 0) return "-";
  return shareWords(kv.usedTokens / kv.totalTokens);
}
