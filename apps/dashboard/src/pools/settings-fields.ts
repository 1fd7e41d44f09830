/** What of a pool can be edited: each field as text, and the call that a set of changes makes. Pure. */
import type { Pool } from "@fulcrum/contracts/pools.js";
import type { SloTarget } from "@fulcrum/core/nouns.js";

export interface FieldSpec<T> {
  readonly key: string;
  readonly label: string;
  readonly unit?: string;
  readonly hint?: string;
  /** A choice; without it a number, or nothing where `optional`. */
  readonly options?: readonly (readonly [value: string, label: string])[];
  readonly optional?: boolean;
  readonly read: (from: T) => string;
}

/** Changed fields only, as typed. */
export type Draft = Readonly<Record<string, string>>;

const pct = (share: number) => String(Number((share * 100).toFixed(4)));
const share = (text: string) => Number((Number(text) / 100).toFixed(6));

export const SLO_FIELDS: readonly FieldSpec<SloTarget>[] = [
  { key: "ttftMs", label: "TTFT bound", unit: "ms", read: ({ ttft }) => String(ttft.boundMs) },
  { key: "ttftPct", label: "TTFT percentile", unit: "th", read: ({ ttft }) => pct(ttft.percentile) },
  { key: "tpotMs", label: "TPOT bound", unit: "ms", read: ({ tpot }) => String(tpot.boundMs) },
  { key: "tpotPct", label: "TPOT percentile", unit: "th", read: ({ tpot }) => pct(tpot.percentile) },
  {
    key: "attainmentPct",
    label: "Attainment",
    unit: "%",
    hint: "share of requests within both bounds",
    read: ({ attainmentShare }) => pct(attainmentShare),
  },
];

/** An SLO is set as a whole. */
export function sloOf(base: SloTarget, draft: Draft): SloTarget {
  const text = (key: string) => draft[key] ?? SLO_FIELDS.find((field) => field.key === key)!.read(base);
  return {
    ttft: { percentile: share(text("ttftPct")), boundMs: Number(text("ttftMs")) },
    tpot: { percentile: share(text("tpotPct")), boundMs: Number(text("tpotMs")) },
    attainmentShare: share(text("attainmentPct")),
  };
}

const YES_NO = [
  ["true", "yes"],
  ["false", "no"],
] as const;

const GUARDS: readonly (readonly [keyof Pool["guards"], string, string])[] = [
  ["maxStepPct", "Largest step", "points"],
  ["dwellMs", "Dwell between moves", "ms"],
  ["flapBudget", "Reversals allowed", "per flap window"],
  ["flapWindowMs", "Flap window", "ms"],
  ["minSamples", "Samples needed", "requests"],
  ["staleAfterMs", "Signal stale after", "ms"],
  ["stabilityMargin", "Stability margin", "times"],
];

const LIMITS: readonly (readonly [keyof Pool["limits"], string, string])[] = [
  ["minSmPct", "Smallest cap", "% of SMs"],
  ["maxSmPct", "Largest cap", "% of SMs"],
  ["maxSumPct", "Largest sum of caps", "%"],
  ["granularityPct", "Granularity", "points"],
  ["minKvQuotaPct", "Smallest KV quota", "%"],
  ["maxKvQuotaPct", "Largest KV quota", "%"],
];

export const MAIN_FIELDS: readonly FieldSpec<Pool>[] = [
  {
    key: "mode",
    label: "Mode",
    options: [
      ["observe", "observe: decide, change nothing"],
      ["recommend", "recommend: a person approves"],
      ["enforce", "enforce: apply"],
    ],
    read: ({ mode }) => mode,
  },
  {
    key: "policy",
    label: "Policy",
    options: [
      ["search", "search"],
      ["feedback", "feedback"],
      ["semi-pd", "semi-pd"],
      ["static", "static"],
    ],
    hint: "another policy begins with its defaults",
    read: ({ policy }) => policy.name,
  },
  {
    key: "controlIntervalMs",
    label: "Decide every",
    unit: "ms",
    read: ({ controlIntervalMs }) => String(controlIntervalMs),
  },
  { key: "lookbackMs", label: "Look back", unit: "ms", read: ({ lookbackMs }) => String(lookbackMs) },
  { key: "frozen", label: "Frozen", options: YES_NO, read: ({ frozen }) => String(frozen) },
  {
    key: "autoRollback",
    label: "Take bad moves back",
    options: YES_NO,
    read: ({ autoRollback }) => String(autoRollback),
  },
  {
    key: "approval.required",
    label: "Approvals needed",
    unit: "keys",
    read: ({ approval }) => String(approval.required),
  },
  {
    key: "approval.expireMs",
    label: "A proposal lapses after",
    unit: "ms",
    read: ({ approval }) => String(approval.expireMs),
  },
];

export const GUARD_FIELDS: readonly FieldSpec<Pool>[] = GUARDS.map(([key, label, unit]) => ({
  key: `guards.${key}`,
  label,
  unit,
  read: ({ guards }) => String(guards[key]),
}));

export const LIMIT_FIELDS: readonly FieldSpec<Pool>[] = LIMITS.map(([key, label, unit]) => ({
  key: `limits.${key}`,
  label,
  unit,
  optional: true,
  hint: "empty: as the driver can",
  read: ({ limits }) => (limits[key] === undefined ? "" : String(limits[key])),
}));

export const SETTINGS_FIELDS: readonly FieldSpec<Pool>[] = [...MAIN_FIELDS, ...GUARD_FIELDS, ...LIMIT_FIELDS];

/** What PATCH /v1/pools/:pool is sent: only what was changed. */
export function patchOf(base: Pool, draft: Draft): Record<string, unknown> {
  const patch: Record<string, unknown> = {};
  const nested = (group: string, key: string, value: unknown) => {
    patch[group] = { ...(patch[group] as object | undefined), [key]: value };
  };
  for (const [key, text] of Object.entries(draft)) {
    const [group = "", part] = key.split(".");
    if (key === "mode") patch.mode = text;
    else if (key === "policy") patch.policy = policyOf(base, text);
    else if (key === "frozen" || key === "autoRollback") patch[key] = text === "true";
    else if (part === undefined) patch[key] = Number(text);
    else if (group !== "limits") nested(group, part, Number(text));
  }
  if (Object.keys(draft).some((key) => key.startsWith("limits."))) patch.limits = limitsOf(base, draft);
  return patch;
}

/** A static policy needs a target: what most GPUs begin with. */
function policyOf(base: Pool, name: string): unknown {
  if (name === base.policy.name) return base.policy;
  if (name !== "static") return { name };
  return { name, params: { allocation: { split: { prefillSmPct: 50, decodeSmPct: 50 }, kvQuotaPct: 100 } } };
}

/** Limits are replaced as a whole, so that one can be taken away. */
function limitsOf(base: Pool, draft: Draft): Record<string, number> {
  const kept: Record<string, number> = {};
  for (const [key] of LIMITS) {
    const text = draft[`limits.${key}`] ?? (base.limits[key] === undefined ? "" : String(base.limits[key]));
    if (text !== "") kept[key] = Number(text);
  }
  return kept;
}

/** The draft with one field typed; what is as before is no change. */
export function withField<T>(
  fields: readonly FieldSpec<T>[],
  base: T,
  draft: Draft,
  key: string,
  text: string,
): Draft {
  const { [key]: _, ...others } = draft;
  return fields.find((field) => field.key === key)?.read(base) === text ? others : { ...others, [key]: text };
}

export interface Clash {
  readonly label: string;
  readonly before: string;
  readonly theirs: string;
  /** Undefined: you did not touch it. */
  readonly yours: string | undefined;
}

/** What somebody else changed since `base` was read, beside what is drafted. */
export function clashesOf<T>(fields: readonly FieldSpec<T>[], base: T, theirs: T, draft: Draft): Clash[] {
  return fields
    .map((field) => ({
      label: field.label,
      before: field.read(base),
      theirs: field.read(theirs),
      yours: draft[field.key],
    }))
    .filter(({ before, theirs: now }) => before !== now);
}
