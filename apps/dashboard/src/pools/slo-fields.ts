/** An SLO as a form: each promise field by field, the pool's own first, then its classes in order. Pure. */
import type { SloClass, SloPromise, SloTarget } from "@fulcrum/core/nouns.js";
import type { Draft, FieldGroup, FieldSpec } from "./settings-fields.js";

/** As the API takes them (MAX_SLO_CLASSES of core). */
const MAX_CLASSES = 4;

const pct = (share: number) => String(Number((share * 100).toFixed(4)));
const share = (text: string) => Number((Number(text) / 100).toFixed(6));

function promiseFields<T>(
  prefix: string,
  label: string,
  promise: (from: T) => SloPromise,
): readonly FieldSpec<T>[] {
  const named = (words: string) => (label === "" ? words : `${label} ${words}`);
  return [
    {
      key: `${prefix}ttftMs`,
      label: named("TTFT bound"),
      unit: "ms",
      read: (from) => String(promise(from).ttft.boundMs),
    },
    {
      key: `${prefix}ttftPct`,
      label: named("TTFT percentile"),
      unit: "th",
      read: (from) => pct(promise(from).ttft.percentile),
    },
    {
      key: `${prefix}tpotMs`,
      label: named("TPOT bound"),
      unit: "ms",
      read: (from) => String(promise(from).tpot.boundMs),
    },
    {
      key: `${prefix}tpotPct`,
      label: named("TPOT percentile"),
      unit: "th",
      read: (from) => pct(promise(from).tpot.percentile),
    },
    {
      key: `${prefix}attainmentPct`,
      label: label === "" ? "Attainment" : named("attainment"),
      unit: "%",
      hint: "share of requests within both bounds",
      read: (from) => pct(promise(from).attainmentShare),
    },
  ];
}

const COUNT: FieldSpec<SloTarget> = {
  key: "classes",
  label: "Classes below it",
  options: Array.from({ length: MAX_CLASSES + 1 }, (_, count) => [
    String(count),
    count === 0 ? "none" : String(count),
  ]),
  hint: "further promises, kept in their order",
  read: ({ classes }) => String(classes?.length ?? 0),
};

export const SLO_FIELDS: readonly FieldSpec<SloTarget>[] = [
  ...promiseFields<SloTarget>("", "", (slo) => slo),
  COUNT,
];

/** A class that is not there yet begins with the pool's own promise. */
function classOf(slo: SloTarget, index: number): SloClass {
  const { classes, ...own } = slo;
  return classes?.[index] ?? { ...own, name: `class-${index + 1}` };
}

function classGroup(index: number): FieldGroup<SloTarget> {
  const prefix = `class.${index}.`;
  const label = `Class ${index + 1}`;
  return {
    heading: index === 0 ? `${label}: gives way to the promise above` : `${label}: gives way to those above`,
    isOpen: true,
    fields: [
      {
        key: `${prefix}name`,
        label: `${label} name`,
        isText: true,
        hint: "as the engine calls its requests; empty: away with it",
        read: (slo) => classOf(slo, index).name,
      },
      ...promiseFields<SloTarget>(prefix, label, (slo) => classOf(slo, index)),
    ],
  };
}

const CLASS_GROUPS: readonly FieldGroup<SloTarget>[] = Array.from({ length: MAX_CLASSES }, (_, index) =>
  classGroup(index),
);

/** The pool's own promise and as many classes as are asked for. */
export function sloGroups(base: SloTarget, draft: Draft): readonly FieldGroup<SloTarget>[] {
  const count = Number(draft["classes"] ?? COUNT.read(base));
  return [{ heading: null, fields: SLO_FIELDS }, ...CLASS_GROUPS.slice(0, count)];
}

/** An SLO is set as a whole. */
export function sloOf(base: SloTarget, draft: Draft): SloTarget {
  const groups = sloGroups(base, draft);
  const textOf = (key: string, fields: readonly FieldSpec<SloTarget>[]) =>
    draft[key] ?? fields.find((field) => field.key === key)!.read(base);
  const promise = (prefix: string, { fields }: FieldGroup<SloTarget>): SloPromise => {
    const text = (key: string) => textOf(prefix + key, fields);
    return {
      ttft: { percentile: share(text("ttftPct")), boundMs: Number(text("ttftMs")) },
      tpot: { percentile: share(text("tpotPct")), boundMs: Number(text("tpotMs")) },
      attainmentShare: share(text("attainmentPct")),
    };
  };
  const classes = groups
    .slice(1)
    .map((group, index) => ({
      name: textOf(`class.${index}.name`, group.fields).trim(),
      ...promise(`class.${index}.`, group),
    }))
    .filter(({ name }) => name !== "");
  return { ...promise("", groups[0]!), ...(classes.length > 0 ? { classes } : {}) };
}
