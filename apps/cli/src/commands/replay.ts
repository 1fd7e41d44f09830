import { type Pool, POLICY_NAMES } from "@fulcrum/contracts/pools.js";
import type { PolicyConfig } from "@fulcrum/core/decision.js";
import { type Allocation, type PolicyName, UNCONTROLLED, WIDEST_LIMITS } from "@fulcrum/core/nouns.js";
import { Option, type Command } from "commander";
import type { ApiClient } from "../api/client.js";
import { refuseUnknownFilter } from "../api/explain.js";
import { policyConfig } from "../decide/policy-config.js";
import type { TimeSpan } from "../replay/recorded.js";
import type { ReplayReport, ReplayedInstance } from "../replay/replay-text.js";
import { NewestSettings, type Settings } from "../replay/settings-run.js";
import { failed, usageError } from "../failure.js";
import { terminalWidth, type Io } from "../io.js";
import { apiCommand, durationMsOf, wholeIn, type Session } from "./command.js";
import { verifyText } from "./decisions.js";
import { instanceOption } from "./list-options.js";
import { splitOf } from "./pool-options.js";
import { changedSlo, isSloChange, sloOptions, type SloOptions } from "./slo-options.js";
import { verifyDecisions, type VerifyReport } from "./verify-decisions.js";

interface ReplayOptions extends SloOptions {
  readonly pool: string;
  readonly instance?: string;
  readonly from: string;
  readonly to?: string;
  readonly policy?: PolicyName;
  readonly split?: readonly [number, number];
  readonly profile: string;
  readonly seed: number;
}

export function addReplay(program: Command, io: Io): void {
  apiCommand<ReplayOptions>(
    program,
    io,
    {
      usage: "replay",
      summary:
        "Recorded time again: every decision as it was, then in the simulator under another policy or SLO",
      examples: [
        "fulcrum replay --pool chat-8b --from 1h",
        "fulcrum replay --pool chat-8b --from 2026-11-22T12:00:00Z --to 2026-11-22T13:00:00Z --policy feedback",
        "fulcrum replay --pool chat-8b --from 1h --ttft-ms 200",
      ],
      options: [
        new Option("--pool <pool>", "whose time").makeOptionMandatory(),
        instanceOption(),
        new Option("--from <time>", "an instant, or how long ago: 30min, 2h").makeOptionMandatory(),
        new Option("--to <time>", "an instant, or how long ago; now, if not said"),
        new Option("--policy <name>", "another policy, with its default parameters").choices(POLICY_NAMES),
        new Option("--split <x,y>", "for --policy static: its caps, percent of the SMs").argParser(splitOf),
        ...sloOptions(),
        new Option(
          "--profile <profile>",
          "the simulated GPU and model: a bundled profile's name or a file",
        ).default("llama3-8b-a100"),
        new Option("--seed <n>", "of what the windows do not tell")
          .argParser(wholeIn(0, 4_294_967_295))
          .default(1),
      ],
    },
    async (session, _args, options) => replay(session, options),
  );
}

async function replay({ api, io, show }: Session, options: ReplayOptions): Promise<void> {
  const { pool, instance } = options;
  const nowMs = io.now();
  const span = {
    from: instantOf("--from", options.from, nowMs),
    to: instantOf("--to", options.to ?? "0s", nowMs),
  };
  if (span.from >= span.to) throw usageError("--from must be before --to");
  await refuseUnknownFilter(api, { pool, ...(instance === undefined ? {} : { instance }) });
  const newest = new NewestSettings();
  const verified = await verifyDecisions(
    api,
    { pool, ...(instance === undefined ? {} : { instance }), ...span },
    (row) => newest.take(row),
  );
  const report = await simulated(api, options, span, newest);
  // Loaded only here: the other commands need no simulator.
  const { replayText } = await import("../replay/replay-text.js");
  show({ verified, ...report }, () =>
    [`Decisions again: ${againWords(verified)}`, replayText(report, terminalWidth(io))].join("\n\n"),
  );
  if (verified.different.length > 0)
    throw failed(`${verified.different.length} of ${verified.checked} decisions came out differently`);
}

async function simulated(
  api: ApiClient,
  options: ReplayOptions,
  span: TimeSpan,
  newest: NewestSettings,
): Promise<ReplayReport> {
  const { instancesOf, recorded } = await import("../replay/recorded.js");
  const { replayInstance } = await import("@fulcrum/evaluation/replay/replay.js");
  const { loadProfile } = await import("../simulator-check/input-files.js");
  const profile = loadProfile(options.profile);
  const { body: pool } = await api.call("getPool", { params: { pool: options.pool } });
  const instances: ReplayedInstance[] = [];
  for (const name of await instancesOf(api, options.pool, options.instance)) {
    const run = newest.of(name);
    const { mode, policy, guards, limits, slo } = run?.settings ?? settingsNow(pool);
    // One policy runs in the simulator: what went by other settings is left out.
    const cut = run?.change == null ? null : { at: run.since, change: run.change };
    const from = cut?.at ?? span.from;
    const { windows, allocations, rolloutMs } = await recorded(api, name, { ...span, from });
    const judged = changedSlo(slo, options);
    const other = otherPolicy(options, policy, [...allocations.values()].at(-1));
    const result = replayInstance({
      windows,
      allocationOf: (generation) => allocations.get(generation) ?? null,
      profile,
      slo: judged,
      guards,
      limits,
      controlIntervalMs: pool.controlIntervalMs,
      rolloutMs,
      seed: options.seed,
      ran: { policy, slo },
      other: other && { policy: other, slo: judged },
    });
    instances.push({
      instance: name,
      cut,
      mode,
      ran: policy.name,
      other: otherName(options, policy.name),
      slo: judged,
      result,
    });
  }
  const last = instances.at(-1);
  const ran = last?.ran ?? pool.policy.name;
  return {
    pool: pool.name,
    ...span,
    profile: options.profile,
    slo: last?.slo ?? changedSlo(pool.slo, options),
    ran,
    other: otherName(options, ran),
    instances,
  };
}

/** Where no decision tells: as the pool has them. */
function settingsNow({ mode, policy, guards, limits, slo }: Pool): Settings {
  return { mode, policy, guards, slo, limits: { ...WIDEST_LIMITS, ...limits } };
}

/** Null: neither another policy nor another SLO was asked for. */
function otherPolicy(
  options: ReplayOptions,
  ran: PolicyConfig,
  first: Allocation | undefined,
): PolicyConfig | null {
  const { policy, split } = options;
  if (split !== undefined && policy !== "static") throw usageError("--split is for --policy static");
  if (policy === undefined) return isSloChange(options) ? ran : null;
  const allocation: Allocation | undefined = split
    ? { split: { prefillSmPct: split[0], decodeSmPct: split[1] }, kvQuotaPct: 100 }
    : first;
  if (policy === "static" && allocation === undefined) throw usageError("--policy static needs --split");
  return policyConfig(policy, {}, allocation ?? UNCONTROLLED);
}

function otherName(options: ReplayOptions, ran: string): string | null {
  const slo = isSloChange(options) ? " under the SLO asked for" : "";
  if (options.policy === undefined) return slo === "" ? null : `${ran}${slo}`;
  const { split } = options;
  return `${options.policy}${split ? ` ${split.join("/")}` : ""}${slo}`;
}

function againWords(verified: VerifyReport): string {
  if (verified.checked === 0 && verified.otherVersions.length === 0) return "none is stored of this time.";
  const same = verified.different.length === 0 ? ", so all come out exactly as they were" : "";
  return `${verifyText(verified)}${same}.`;
}

/** @throws CliFailure naming the option */
function instantOf(option: string, text: string, nowMs: number): string {
  const ago = /^\d+(?:\.\d+)?\s*(?:ms|s|min|h|d)$/.test(text.trim()) ? durationMsOf(text) : null;
  const atMs = ago === null ? Date.parse(text) : nowMs - ago;
  if (!Number.isFinite(atMs))
    throw usageError(
      `${option} must be an instant such as 2026-11-22T12:00:00Z, or how long ago, such as 1h`,
    );
  return new Date(atMs).toISOString();
}
