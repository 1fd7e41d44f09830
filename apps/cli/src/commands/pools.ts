import { DEFAULT_POLICY, type Pool } from "@fulcrum/contracts/pools.js";
import type { Mode } from "@fulcrum/core/nouns.js";
import { isRecord } from "@fulcrum/core/signal/fault.js";
import type { Command } from "commander";
import { Refusal, type ApiBody, type ApiClient } from "../api/client.js";
import { failed, usageError } from "../failure.js";
import { terminalWidth, type Io } from "../io.js";
import { pairsText, tableText } from "../text/table.js";
import { oneLine } from "../text/visible.js";
import { ageWords, agoOf, allocationWords, durationWords, sloWords, trimmed } from "../text/words.js";
import { addExport } from "./pools-export.js";
import { apiCommand, given, groupCommand } from "./command.js";
import { changedSlo, isSloChange, newSlo, sloOptions, type SloOptions } from "./slo-options.js";
import {
  mergedFields,
  poolFields,
  MODES,
  poolOptions,
  readPoolFile,
  withParams,
  type PoolOptions,
} from "./pool-options.js";

export function addPools(program: Command, io: Io): void {
  const group = groupCommand(
    program,
    "pools",
    "Pools: instances under one SLO and one policy",
    "fulcrum pools list",
  );
  addReads(group, io);
  addExport(group, io);
  apiCommand<PoolOptions & SloOptions>(
    group,
    io,
    {
      usage: "create [pool]",
      summary: "Create a pool; it observes until --mode says otherwise",
      examples: [
        "fulcrum pools create chat-8b --model llama3-8b --ttft-ms 300 --tpot-ms 100",
        "fulcrum pools create batch --model llama3-8b --ttft-ms 2000 --tpot-ms 150 --policy static --split 80,100",
        "fulcrum pools create -f pool.yaml",
      ],
      options: [...poolOptions(), ...sloOptions()],
    },
    async ({ api, show }, [name], options) => {
      const { body, raw } = await api.call("createPool", { body: poolInputOf(name, options) });
      show(raw, () => `created pool ${body.name}: ${body.policy.name}, ${body.mode}, ${sloWords(body.slo)}`);
    },
  );
  apiCommand<PoolOptions>(
    group,
    io,
    {
      usage: "set <pool>",
      summary: "Change policy, mode or bounds of a pool (its SLO: fulcrum slo set)",
      examples: [
        "fulcrum pools set chat-8b --mode enforce",
        "fulcrum pools set chat-8b --mode canary --canary-share 25%",
        "fulcrum pools set chat-8b --policy static --split 60,100 --kv-quota 80",
        "fulcrum pools set chat-8b --guard dwellMs=30000 --freeze",
      ],
      options: poolOptions(),
    },
    async ({ api, io, show }, [pool], options) => {
      const { before, after } = await setPool(api, io, given(pool), options);
      const { body, raw } = after;
      const left = before.mode === "canary" && body.mode !== "canary" ? `; ${LEFT_CANARY}` : "";
      show(
        raw,
        () => `set pool ${body.name} to version ${body.version}: ${body.policy.name}, ${body.mode}${left}`,
      );
    },
  );
  apiCommand(
    group,
    io,
    {
      usage: "delete <pool>",
      summary: "Delete a pool; its instances keep their split and are no longer decided on",
      examples: ["fulcrum pools delete chat-8b"],
    },
    async ({ api, show }, [pool]) => {
      await api.call("deletePool", { params: { pool: given(pool) } });
      show(null, () => `deleted pool ${given(pool)}`);
    },
  );
}

function addReads(group: Command, io: Io): void {
  apiCommand(
    group,
    io,
    { usage: "list", summary: "List pools", examples: ["fulcrum pools list"] },
    async ({ api, io, show }) => {
      const { body, raw } = await api.call("listPools", {});
      show(raw, () => poolTable(body.items, io));
    },
  );
  apiCommand(
    group,
    io,
    { usage: "get <pool>", summary: "Show a pool", examples: ["fulcrum pools get chat-8b"] },
    async ({ api, io, show }, [pool]) => {
      const { body, raw } = await api.call("getPool", { params: { pool: given(pool) } });
      show(raw, () => poolText(body, io.now()));
    },
  );
}

/** The body of createPool; the API checks it, we only see to what it must have. */
export function poolInputOf(
  name: string | undefined,
  options: PoolOptions & SloOptions,
): ApiBody<"createPool"> {
  const file = options.file === undefined ? {} : readPoolFile(options.file);
  const fields = mergedFields(file, poolFields(options));
  if (name !== undefined) fields["name"] = name;
  if (fields["name"] === undefined) throw usageError("give the pool a name: fulcrum pools create NAME …");
  if (fields["model"] === undefined) throw usageError("a new pool needs --model");
  const policy = fields["policy"];
  if (isRecord(policy) && policy["name"] === undefined)
    fields["policy"] = { ...policy, name: DEFAULT_POLICY };
  if (fields["slo"] === undefined) fields["slo"] = newSlo(options);
  else if (isSloChange(options)) fields["slo"] = changedSlo(fields["slo"] as Pool["slo"], options);
  return fields as unknown as ApiBody<"createPool">;
}

async function setPool(api: ApiClient, io: Io, pool: string, options: PoolOptions) {
  const file = options.file === undefined ? {} : readPoolFile(options.file);
  const fields = mergedFields(file, poolFields(options));
  if (Object.keys(fields).length === 0) throw usageError("say what to change, such as --mode enforce");
  const before = await api.call("getPool", { params: { pool } });
  const patch = keptBeside(before.body, fields);
  if (goesUp(before.body.mode, patch["mode"])) await tellEvidence(api, io, pool);
  try {
    const ifMatch = before.etag ?? `"${before.body.version}"`;
    return {
      before: before.body,
      after: await api.call("patchPool", { params: { pool }, body: patch, ifMatch }),
    };
  } catch (error) {
    if (!(error instanceof Refusal) || error.problem?.code !== "precondition_failed") throw error;
    throw failed(`pool ${pool} was changed while you were setting it; nothing of yours was applied.`, [
      ...(await changesSince(api, io, before.body)),
      "Look at it with `fulcrum pools get`, then run the command again if you still want it.",
    ]);
  }
}

const LEFT_CANARY = "the canary's instances keep the split that they have";

/** Whether the controller may do more by itself afterwards. */
function goesUp(from: Mode, to: unknown): boolean {
  return MODES.indexOf(to as Mode) > MODES.indexOf(from);
}

/** What is known so far, before more is allowed: on stderr, so that --json stays what the API says. */
async function tellEvidence(api: ApiClient, io: Io, pool: string): Promise<void> {
  const { body } = await api.call("getEvidence", { params: { pool } });
  io.stderr.write(`So far: ${oneLine(body.message)}\n`);
}

/** The API replaces limits and policy as a whole; here what is not named stays, as with everything else. */
export function keptBeside(pool: Pool, fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const patch: Record<string, unknown> = { ...fields };
  if (patch["limits"] !== undefined) patch["limits"] = { ...pool.limits, ...(patch["limits"] as object) };
  const policy = patch["policy"];
  if (!isRecord(policy)) return patch;
  const same = policy["name"] === pool.policy.name && pool.policy.name !== "static";
  if (same || policy["name"] === undefined) patch["policy"] = withParams({ ...pool.policy }, policy);
  return patch;
}

export async function changesSince(api: ApiClient, io: Io, before: Pool): Promise<string[]> {
  const { body: now } = await api.call("getPool", { params: { pool: before.name } });
  const changed = (Object.keys(now) as (keyof Pool)[]).filter(
    (key) =>
      !["version", "updatedAt", "instances"].includes(key) &&
      JSON.stringify(before[key]) !== JSON.stringify(now[key]),
  );
  const what = changed
    .map((key) => `${key} ${JSON.stringify(before[key])} -> ${JSON.stringify(now[key])}`)
    .join(", ");
  const who = await lastActor(api, before.name);
  return [
    `${who} made version ${now.version} ${agoOf(now.updatedAt, io.now())}: ${what || "no field differs"}.`,
  ];
}

/** Who the audit log says touched the pool last; "somebody" when it does not. */
async function lastActor(api: ApiClient, pool: string): Promise<string> {
  const entries = await api
    .call("listAudit", { query: { subject: `pool/${pool}`, limit: 1 } })
    .then(({ body }) => body.items)
    .catch(() => []);
  return entries[0]?.actor ?? "somebody";
}

function poolTable(pools: readonly Pool[], io: Io): string {
  if (pools.length === 0) return "there are no pools yet: fulcrum pools create --help";
  return tableText(
    [
      { title: "pool" },
      { title: "model", cut: true },
      { title: "policy" },
      { title: "mode" },
      { title: "slo", cut: true },
      { title: "instances", right: true },
      { title: "changed" },
    ],
    pools.map((pool) => [
      pool.name,
      pool.model,
      policyWords(pool),
      pool.frozen ? `${pool.mode}, frozen` : pool.mode,
      sloWords(pool.slo),
      String(pool.instances),
      ageWords(Date.parse(pool.updatedAt), io.now()),
    ]),
    terminalWidth(io),
  );
}

/** Text as it is, everything else as JSON: a prior is an object. */
function wordOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function policyWords({ policy }: Pool): string {
  return policy.name === "static" ? `static ${allocationWords(policy.params.allocation)}` : policy.name;
}

function poolText(pool: Pool, nowMs: number): string {
  const values = (record: object) =>
    Object.entries(record)
      .map(([name, value]) => `${name}=${typeof value === "number" ? trimmed(value, 3) : wordOf(value)}`)
      .join(" ");
  const { policy } = pool;
  return pairsText([
    ["pool", pool.name],
    ["model", pool.model],
    ["slo", `${sloWords(pool.slo)} (version ${pool.sloVersion})`],
    ["policy", policy.name === "static" ? policyWords(pool) : `${policy.name} ${values(policy.params)}`],
    ["mode", pool.frozen ? `${pool.mode}, frozen` : pool.mode],
    [
      "approval",
      `${pool.approval.required} key${pool.approval.required === 1 ? "" : "s"} within ${durationWords(pool.approval.expireMs)} (mode recommend)`,
    ],
    ["canary", `${trimmed(pool.canary.share * 100, 1)} % of the instances (mode canary)`],
    [
      "error budget",
      `${((1 - pool.slo.attainmentShare) * 100).toFixed(1)} % of the requests of ${pool.budgetDays} days`,
    ],
    ["auto rollback", pool.autoRollback ? "on (modes canary and enforce)" : "off"],
    ["guards", values(pool.guards)],
    ["limits", values(pool.limits) || "what the drivers can do"],
    ["control interval", durationWords(pool.controlIntervalMs)],
    ["lookback", durationWords(pool.lookbackMs)],
    ["instances", String(pool.instances)],
    ["version", `${pool.version}, ${agoOf(pool.updatedAt, nowMs)}`],
    ["created", agoOf(pool.createdAt, nowMs)],
  ]);
}
