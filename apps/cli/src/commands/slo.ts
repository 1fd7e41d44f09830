import type { SloVersion } from "@fulcrum/contracts/pools.js";
import type { Command } from "commander";
import { Refusal, type ApiClient } from "../api/client.js";
import { failed, usageError } from "../failure.js";
import { terminalWidth, type Io } from "../io.js";
import { pairsText, tableText } from "../text/table.js";
import { agoOf, latencyWords, percentileWords, shareWords, sloWords } from "../text/words.js";
import { apiCommand, given, groupCommand } from "./command.js";
import { changedSlo, isSloChange, sloOptions, type SloOptions } from "./slo-options.js";

export function addSlo(program: Command, io: Io): void {
  const group = groupCommand(program, "slo", "SLOs: what a pool promises", "fulcrum slo get chat-8b");
  apiCommand(
    group,
    io,
    { usage: "get <pool>", summary: "Show the SLO in force", examples: ["fulcrum slo get chat-8b"] },
    async ({ api, io, show }, [pool]) => {
      const { body, raw } = await api.call("getSlo", { params: { pool: given(pool) } });
      show(raw, () => sloText(body, io.now()));
    },
  );
  apiCommand<SloOptions>(
    group,
    io,
    {
      usage: "set <pool>",
      summary: "Change the SLO; what is not named stays",
      examples: [
        "fulcrum slo set chat-8b --ttft-ms 250",
        "fulcrum slo set chat-8b --ttft-ms 400 --tpot-ms 80 --percentile p95 --attainment 95%",
        "fulcrum slo set chat-8b --classes batch.yaml",
      ],
      options: sloOptions(),
    },
    async ({ api, io, show }, [pool], options) => {
      const { body, raw } = await setSlo(api, io, given(pool), options);
      show(raw, () => `SLO of ${body.pool}, version ${body.version}: ${sloWords(body.slo)}`);
    },
  );
  apiCommand(
    group,
    io,
    {
      usage: "history <pool>",
      summary: "Every SLO the pool ever had, newest first",
      examples: ["fulcrum slo history chat-8b"],
    },
    async ({ api, io, show }, [pool]) => {
      const { body, raw } = await api.call("listSloVersions", { params: { pool: given(pool) } });
      show(raw, () => historyTable(body.items, io));
    },
  );
}

async function setSlo(api: ApiClient, io: Io, pool: string, options: SloOptions) {
  if (!isSloChange(options)) throw usageError("say what to change, such as --ttft-ms 250");
  const before = await api.call("getSlo", { params: { pool } });
  try {
    return await api.call("putSlo", {
      params: { pool },
      body: changedSlo(before.body.slo, options),
      ifMatch: before.etag ?? `"${before.body.version}"`,
    });
  } catch (error) {
    if (!(error instanceof Refusal) || error.problem?.code !== "precondition_failed") throw error;
    const { body: now } = await api.call("getSlo", { params: { pool } });
    throw failed(`the SLO of ${pool} was changed while you were setting it; yours was not applied.`, [
      `${now.createdBy} made version ${now.version} ${agoOf(now.createdAt, io.now())}: ${sloWords(now.slo)}.`,
      `Before it, version ${before.body.version} was: ${sloWords(before.body.slo)}.`,
      "Run the command again if you still want it.",
    ]);
  }
}

function sloText(version: SloVersion, nowMs: number): string {
  const { slo } = version;
  return pairsText([
    ["pool", version.pool],
    ["TTFT", `${percentileWords(slo.ttft.percentile)} < ${latencyWords(slo.ttft.boundMs)}`],
    ["TPOT", `${percentileWords(slo.tpot.percentile)} < ${latencyWords(slo.tpot.boundMs)}`],
    ["attainment", `${shareWords(slo.attainmentShare)} of requests within both`],
    ...(slo.classes ?? []).map((each): [string, string] => {
      const { classes: _, ...own } = { ...each, classes: undefined };
      return [`then ${each.name}`, sloWords(own)];
    }),
    ["version", `${version.version}, set by ${version.createdBy} ${agoOf(version.createdAt, nowMs)}`],
  ]);
}

function historyTable(versions: readonly SloVersion[], io: Io): string {
  return tableText(
    [
      { title: "version", right: true },
      { title: "slo", cut: true },
      { title: "by", cut: true },
      { title: "set" },
    ],
    versions.map((each) => [
      String(each.version),
      sloWords(each.slo),
      each.createdBy,
      agoOf(each.createdAt, io.now()),
    ]),
    terminalWidth(io),
  );
}
