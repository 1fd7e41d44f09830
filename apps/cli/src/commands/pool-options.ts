/** What a person writes about a pool, on the command line or in a YAML file, as the API's body. */
import { DEFAULT_POLICY, POLICY_NAMES } from "@fulcrum/contracts/pools.js";
import type { Mode } from "@fulcrum/core/nouns.js";
import { Option } from "commander";
import { usageError } from "../failure.js";
import { readYaml } from "../text/yaml-file.js";
import { durationMsOf, numberIn, shareOf, wholeIn } from "./command.js";

export interface PoolOptions {
  readonly file?: string;
  readonly model?: string;
  readonly mode?: string;
  readonly policy?: string;
  readonly split?: readonly [number, number];
  readonly kvQuota?: number;
  readonly param?: Readonly<Record<string, number | boolean | string>>;
  readonly guard?: Readonly<Record<string, number | boolean | string>>;
  readonly limit?: Readonly<Record<string, number | boolean | string>>;
  readonly controlIntervalMs?: number;
  readonly lookbackMs?: number;
  readonly freeze?: boolean;
  readonly autoRollback?: boolean;
  readonly budgetDays?: number;
  readonly canaryShare?: number;
  readonly approvals?: number;
  readonly approvalExpiry?: number;
}

/** The least that the controller does by itself first. */
export const MODES: readonly Mode[] = ["observe", "recommend", "canary", "enforce"];

type Json = Record<string, unknown>;

export function poolOptions(): Option[] {
  return [
    new Option("-f, --file <pool.yaml>", "read the pool from a YAML file; options given besides it win"),
    new Option("--model <name>", "the model that its instances serve"),
    new Option("--mode <mode>", "observe, recommend, canary or enforce").choices(MODES),
    new Option("--canary-share <share>", "mode canary: of the instances, 0.01 to 0.5 (20%)").argParser(
      shareOf,
    ),
    new Option("--policy <name>", `how the split is chosen; a new pool has ${DEFAULT_POLICY}`).choices(
      POLICY_NAMES,
    ),
    new Option("--split <x,y>", "static: the caps of prefill and decode, percent of the SMs").argParser(
      splitOf,
    ),
    new Option("--kv-quota <pct>", "static: share of the KV blocks prefill may fill").argParser(
      numberIn(1, 100),
    ),
    new Option(
      "--param <name=value>",
      "a parameter of the policy, such as stepPct=3; may be repeated",
    ).argParser(pairOf),
    new Option("--guard <name=value>", "a guard, such as dwellMs=30000; may be repeated").argParser(pairOf),
    new Option("--limit <name=value>", "a limit, such as minSmPct=20; may be repeated").argParser(pairOf),
    new Option("--control-interval-ms <ms>", "how often an instance is decided on").argParser(
      wholeIn(200, 600_000),
    ),
    new Option("--lookback-ms <ms>", "how far back windows are folded into one signal").argParser(
      wholeIn(1_000, 600_000),
    ),
    new Option("--approvals <n>", "mode recommend: keys that must approve, 1 or 2").argParser(wholeIn(1, 2)),
    new Option(
      "--approval-expiry <duration>",
      "mode recommend: a proposal lapses after this (15min)",
    ).argParser(durationMsOf),
    new Option("--freeze", "a change freeze: decide nothing that moves"),
    new Option("--no-freeze", "end the change freeze"),
    new Option("--auto-rollback", "mode enforce: take a change back that made it worse"),
    new Option("--no-auto-rollback", "leave such a change where it is"),
    new Option("--budget-days <days>", "over how many days the promise is counted, 1 to 90 (28)").argParser(
      wholeIn(1, 90),
    ),
  ];
}

/** Only what the options name, in the shape of PoolInput and PoolPatch. */
export function poolFields(options: PoolOptions): Json {
  const fields: Json = {
    model: options.model,
    mode: options.mode,
    policy: policyField(options),
    guards: options.guard,
    limits: options.limit,
    controlIntervalMs: options.controlIntervalMs,
    lookbackMs: options.lookbackMs,
    frozen: options.freeze,
    autoRollback: options.autoRollback,
    budgetDays: options.budgetDays,
    canary: options.canaryShare === undefined ? undefined : { share: options.canaryShare },
    approval: approvalField(options),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/**
 * The file's fields with the options' over them; guards and limits are merged name by name, and so are the
 * parameters of the file's policy where the options name none.
 */
export function mergedFields(file: Json, options: Json): Json {
  const merged: Json = { ...file, ...options };
  for (const key of ["guards", "limits", "approval", "canary"]) {
    if (isRecord(file[key]) && isRecord(options[key])) merged[key] = { ...file[key], ...options[key] };
  }
  if (isRecord(file["policy"]) && isRecord(options["policy"]) && options["policy"]["name"] === undefined) {
    merged["policy"] = withParams(file["policy"], options["policy"]);
  }
  return merged;
}

/**
 * The parameters of `change` over those of `policy`, whose name it keeps.
 * @throws CliFailure (usage) when that is the static policy, which has none to give one by one
 */
export function withParams(policy: Json, change: Json): Json {
  if (policy["name"] === "static") throw usageError(STATIC_PARAMS);
  return {
    ...policy,
    params: { ...(policy["params"] as object | undefined), ...(change["params"] as object) },
  };
}

const STATIC_PARAMS = "--param is not for the static policy, which takes --split and --kv-quota";

/** @throws CliFailure (usage) naming the file and the line when it cannot be read as a YAML mapping. */
export function readPoolFile(file: string): Json {
  const value = readYaml(file);
  if (!isRecord(value)) throw usageError(`${file} must hold fields such as "model: llama3-8b"`);
  return value;
}

function approvalField({ approvals, approvalExpiry }: PoolOptions): unknown {
  if (approvals === undefined && approvalExpiry === undefined) return undefined;
  return {
    ...(approvals === undefined ? {} : { required: approvals }),
    ...(approvalExpiry === undefined ? {} : { expireMs: approvalExpiry }),
  };
}

/** Without `name` where only parameters are given: they are for the policy that the pool has. */
function policyField(options: PoolOptions): unknown {
  const { policy, split, kvQuota, param } = options;
  if (policy === undefined && split === undefined && kvQuota === undefined) {
    return param === undefined ? undefined : { params: param };
  }
  const name = policy ?? (split === undefined ? undefined : "static");
  if (name === "static") {
    if (param !== undefined) throw usageError(STATIC_PARAMS);
    if (split === undefined) throw usageError("the static policy needs --split, such as --split 80,100");
    const [prefillSmPct, decodeSmPct] = split;
    const allocation = { split: { prefillSmPct, decodeSmPct }, kvQuotaPct: kvQuota ?? 100 };
    return { name, params: { allocation } };
  }
  if (split !== undefined || kvQuota !== undefined) {
    throw usageError("--split and --kv-quota are for the static policy: add --policy static");
  }
  return param === undefined ? { name } : { name, params: param };
}

/** Parses `80,100` (also `80/100`). */
export function splitOf(text: string): [number, number] {
  const match = /^\s*([\d.]+)\s*[,/]\s*([\d.]+)\s*$/.exec(text);
  const [prefill, decode] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || ![prefill, decode].every((pct) => pct >= 1 && pct <= 100)) {
    throw usageError(
      `--split must be two caps from 1 to 100, prefill then decode, such as 80,100; got ${JSON.stringify(text)}`,
    );
  }
  return [prefill, decode];
}

type Pairs = Record<string, number | boolean | string>;

/** Parses `name=value` and adds it to those before. */
export function pairOf(text: string, before: Pairs | undefined): Pairs {
  const at = text.indexOf("=");
  const [name, value] = [text.slice(0, at).trim(), text.slice(at + 1).trim()];
  if (at < 1 || !/^[A-Za-z]+$/.test(name) || value === "") {
    throw usageError(`expected name=value, such as dwellMs=30000; got ${JSON.stringify(text)}`);
  }
  return { ...before, [name]: scalarOf(value) };
}

function scalarOf(text: string): number | boolean | string {
  if (text === "true" || text === "false") return text === "true";
  const value = Number(text);
  return Number.isFinite(value) ? value : text;
}

function isRecord(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
