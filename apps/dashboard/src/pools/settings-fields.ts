/** What of a pool can be edited: each field as text, and the call that a set of changes makes. Pure. */
import type { Pool } from "@fulcrum/contracts/pools.js";
import type { Allocation } from "@fulcrum/core/nouns.js";

export interface FieldSpec<T> {
  readonly key: string;
  readonly label: string;
  readonly unit?: string;
  readonly hint?: string;
  /** A choice; without it a number, or nothing where `optional`. */
  readonly options?: readonly (readonly [value: string, label: string])[];
  readonly optional?: boolean;
  /** Words and no number. */
  readonly isText?: boolean;
  readonly read: (from: T) => string;
}

export interface FieldGroup<T> {
  /** Null: always in sight; else it can be folded. */
  readonly heading: string | null;
  readonly isOpen?: boolean;
  readonly fields: readonly FieldSpec<T>[];
}

/** Changed fields only, as typed. */
export type Draft = Readonly<Record<string, string>>;

const pct = (share: number) => String(Number((share * 100).toFixed(4)));
const share = (text: string) => Number((Number(text) / 100).toFixed(6));

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
      ["canary", "canary: apply on a share"],
      ["enforce", "enforce: apply"],
    ],
    read: ({ mode }) => mode,
  },
  {
    key: "canary.sharePct",
    label: "Canary's share",
    unit: "%",
    hint: "of the instances, in mode canary",
    read: ({ canary }) => pct(canary.share),
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
    key: "budgetDays",
    label: "Error budget over",
    unit: "days",
    read: ({ budgetDays }) => String(budgetDays),
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

/** What a static policy is given where it had no target: what most GPUs begin with. */
const FIRST_TARGET: Allocation = { split: { prefillSmPct: 50, decodeSmPct: 50 }, kvQuotaPct: 100 };

const TARGETS: readonly (readonly [string, string, string, (target: Allocation) => number])[] = [
  ["target.prefillSmPct", "Target: prefill cap", "% of SMs", ({ split }) => split.prefillSmPct],
  ["target.decodeSmPct", "Target: decode cap", "% of SMs", ({ split }) => split.decodeSmPct],
  ["target.kvQuotaPct", "Target: KV quota", "%", ({ kvQuotaPct }) => kvQuotaPct],
];

/** Where the static policy goes. */
export const TARGET_FIELDS: readonly FieldSpec<Pool>[] = TARGETS.map(([key, label, unit, pick]) => ({
  key,
  label,
  unit,
  read: ({ policy }) => String(pick(policy.name === "static" ? policy.params.allocation : FIRST_TARGET)),
}));

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

/** The fields that there are under what is drafted: the static policy's target only where that is chosen. */
export function settingsGroups(base: Pool, draft: Draft): readonly FieldGroup<Pool>[] {
  const isStatic = (draft["policy"] ?? base.policy.name) === "static";
  const at = MAIN_FIELDS.findIndex(({ key }) => key === "policy") + 1;
  const main = isStatic ? MAIN_FIELDS.toSpliced(at, 0, ...TARGET_FIELDS) : MAIN_FIELDS;
  return [
    { heading: null, fields: main },
    { heading: "Guards: bounds on what leaves, whatever the policy wants", fields: GUARD_FIELDS },
    { heading: "Limits: narrower than the driver's", fields: LIMIT_FIELDS },
  ];
}

/** What POST …/preview takes of a change of settings; the rest changes nothing of what is decided. */
export const PREVIEWED = ["policy", "mode", "canary", "guards", "limits", "lookbackMs", "frozen"] as const;

/** Null: nothing of the change bears on a decision. */
export function previewOf(base: Pool, draft: Draft): Record<string, unknown> | null {
  const patch = patchOf(base, draft);
  const told = PREVIEWED.filter((key) => key in patch).map((key) => [key, patch[key]] as const);
  return told.length === 0 ? null : Object.fromEntries(told);
}

/** What PATCH /v1/pools/:pool is sent: only what was changed. */
export function patchOf(base: Pool, draft: Draft): Record<string, unknown> {
  const patch: Record<string, unknown> = {};
  const nested = (group: string, key: string, value: unknown) => {
    patch[group] = { ...(patch[group] as object | undefined), [key]: value };
  };
  for (const [key, text] of Object.entries(draft)) {
    const [group = "", part] = key.split(".");
    if (key === "mode") patch.mode = text;
    else if (key === "policy" || group === "target") patch.policy = policyOf(base, draft);
    else if (key === "frozen" || key === "autoRollback") patch[key] = text === "true";
    else if (key === "canary.sharePct") nested("canary", "share", share(text));
    else if (part === undefined) patch[key] = Number(text);
    else if (group !== "limits") nested(group, part, Number(text));
  }
  if (Object.keys(draft).some((key) => key.startsWith("limits."))) patch.limits = limitsOf(base, draft);
  return patch;
}

/** Another policy begins with its defaults; a static one needs a target. */
function policyOf(base: Pool, draft: Draft): unknown {
  const name = draft["policy"] ?? base.policy.name;
  if (name !== "static") return name === base.policy.name ? base.policy : { name };
  const [prefillSmPct, decodeSmPct, kvQuotaPct] = TARGET_FIELDS.map(({ key, read }) =>
    Number(draft[key] ?? read(base)),
  );
  return { name, params: { allocation: { split: { prefillSmPct, decodeSmPct }, kvQuotaPct } } };
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

/** What of the draft may not be sent, a sentence each: a number that was emptied would be sent as 0, which most guards allow. */
export function faultsOf<T>(fields: readonly FieldSpec<T>[], draft: Draft): string[] {
  return fields
    .filter(({ options, optional, isText }) => !options && optional !== true && isText !== true)
    .filter(({ key }) => draft[key]?.trim() === "")
    .map(({ label }) => `${label} is empty: type a number, or undo the change.`);
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
