import type { SloTarget } from "@fulcrum/core/nouns.js";
import type { LengthSet } from "@fulcrum/evaluation/lengths.js";
import { withContention, type Profile } from "@fulcrum/simulator/profile.js";
import { changedProfile } from "@fulcrum/evaluation/plant.js";
import { signed } from "./comparison.js";
import { CURVES_65B_TP4, CURVES_SGLANG_8B, SLOS } from "./references.js";
import type { CheckInputs, Effort, FigureTable } from "./section.js";
import { poissonLoad, splitText } from "./serve.js";
import { studySplits, type SplitStudy } from "./split-study.js";

/** One assumption changed in the profile under check. */
export interface Assumption {
  readonly name: string;
  readonly kind: "contention" | "overlap rule" | "engine constants" | "SM curves";
  readonly of: (profile: Profile) => Profile;
}

const curves = (of: typeof CURVES_65B_TP4 | typeof CURVES_SGLANG_8B) => (profile: Profile) =>
  changedProfile(profile, { curves: of });

export const ASSUMPTIONS: readonly Assumption[] = [
  { name: "contention x 0", kind: "contention", of: (profile) => changedProfile(profile, { contention: 0 }) },
  { name: "contention x 2", kind: "contention", of: (profile) => changedProfile(profile, { contention: 2 }) },
  ...[0.35, 0.5, 0.65].map((overlapToPrefill) => ({
    name: `overlap: ${overlapToPrefill} to prefill`,
    kind: "overlap rule" as const,
    of: (profile: Profile) => withContention(profile, { overlapToPrefill, overlapRule: "constant" }),
  })),
  {
    name: "overlap: proportional",
    kind: "overlap rule",
    of: (profile) => withContention(profile, { overlapRule: "proportional" }),
  },
  {
    name: "overlap: by cap",
    kind: "overlap rule",
    of: (profile) => withContention(profile, { overlapRule: "by-cap" }),
  },
  {
    name: "engine constants x 0.5",
    kind: "engine constants",
    of: (profile) => changedProfile(profile, { engine: 0.5 }),
  },
  {
    name: "engine constants x 2",
    kind: "engine constants",
    of: (profile) => changedProfile(profile, { engine: 2 }),
  },
  { name: "SM curves of LLaMA-65B TP4", kind: "SM curves", of: curves(CURVES_65B_TP4) },
  { name: "SM curves of SGLang's 8B", kind: "SM curves", of: curves(CURVES_SGLANG_8B) },
];

/** Rates over what (100,100) sustains. */
const LOADS = [0.9, 1.05] as const;

export interface Workload {
  readonly name: string;
  readonly slo: SloTarget;
  readonly set: LengthSet;
  readonly requests: number;
  /** Where the search for what (100,100) sustains begins. */
  readonly startPerS: number;
}

export interface SensitivityRow {
  readonly assumption: string;
  readonly kind: Assumption["kind"];
  /** True: the assumption changes nothing in this profile. */
  readonly same: boolean;
  readonly study: SplitStudy;
}

export interface WorkloadSensitivity {
  readonly workload: string;
  /** The profile as it is, once for each seed; the first is of the seed that all assumptions are tried on. */
  readonly asIs: readonly SplitStudy[];
  readonly rows: readonly SensitivityRow[];
}

/** How far what one would conclude from the simulator depends on what nobody has measured. */
export function studySensitivity(inputs: CheckInputs, effort: Effort): readonly WorkloadSensitivity[] {
  const workloads: readonly Workload[] = [
    {
      name: "ShareGPT, tight",
      slo: SLOS.sharegptTight,
      set: inputs.sharegpt,
      requests: effort.studyRequests,
      startPerS: 14,
    },
    {
      name: "LongBench, tight",
      slo: SLOS.longbenchTight,
      set: inputs.longbench,
      requests: Math.round(effort.studyRequests / 3),
      startPerS: 2.5,
    },
  ];
  return workloads.map((workload) => studyWorkload(inputs.profile, workload, effort.seeds));
}

function studyWorkload(profile: Profile, workload: Workload, seeds: readonly number[]): WorkloadSensitivity {
  const study = (changed: Profile, seed: number): SplitStudy =>
    studySplits({
      profile: changed,
      load: poissonLoad(workload.set.source, workload.requests, seed),
      slo: workload.slo,
      startPerS: workload.startPerS,
      loads: LOADS,
    });
  const asIs = seeds.map((seed) => study(profile, seed));
  const [first = study(profile, 1)] = asIs;
  const rows = ASSUMPTIONS.map(({ name, kind, of }) => {
    const changed = of(profile);
    const same = JSON.stringify(changed) === JSON.stringify(profile);
    return { assumption: name, kind, same, study: same ? first : study(changed, seeds[0] ?? 1) };
  });
  return { workload: workload.name, asIs, rows };
}

/** What the best fixed split gains over (100,100) in sustainable rate, percent. */
export function gainPct({ openPerS, bestPerS }: SplitStudy): number {
  return 100 * (bestPerS / openPerS - 1);
}

export function sensitivityTable({ workload, asIs, rows }: WorkloadSensitivity): FigureTable {
  const line = (name: string, study: SplitStudy): string[] => [
    name,
    study.openPerS.toFixed(2),
    study.bestPerS.toFixed(2),
    splitText(study.best),
    signed(gainPct(study)),
    ...study.byLoad.map(
      ({ split, attained, openAttained }) =>
        `${splitText(split)} ${attained.toFixed(3)} / ${openAttained.toFixed(3)}`,
    ),
  ];
  return {
    caption: workload,
    columns: [
      "assumption",
      "(100,100) sustains, req/s",
      "best split sustains",
      "best split",
      "gain %",
      ...LOADS.map((load) => `best at ${load} x: attainment / (100,100)'s`),
    ],
    rows: [
      ...asIs.map((study, i) => line(`as the profile has it, seed ${i + 1}`, study)),
      ...rows.filter((row) => !row.same).map((row) => line(row.assumption, row.study)),
    ],
  };
}

/** Gains below this are not told from none: rates are found to half a percent. */
const NO_GAIN_PCT = 1;

/** What holds under all assumptions and what does not, one sentence each. */
export function sensitivityFindings({ workload, asIs, rows }: WorkloadSensitivity): string[] {
  const changed = rows.filter((row) => !row.same);
  const all = [
    ...asIs.slice(0, 1).map((study) => ({ assumption: "the profile as it is", study })),
    ...changed,
  ];
  const gains = all.map(({ assumption, study }) => ({ assumption, gain: gainPct(study) }));
  const least = gains.reduce((a, b) => (b.gain < a.gain ? b : a));
  const most = gains.reduce((a, b) => (b.gain > a.gain ? b : a));
  const gaining = gains.filter(({ gain }) => gain >= NO_GAIN_PCT).length;
  const seedGains = asIs.map(gainPct);
  const splits = countOf(all.map(({ study }) => splitText(study.best)));
  const over = all.filter(({ study }) => study.best.prefillSmPct + study.best.decodeSmPct > 100).length;
  const sign =
    gaining === gains.length
      ? "A fixed split beats (100,100) under every assumption"
      : gaining === 0
        ? "No fixed split beats (100,100) under any assumption"
        : `Whether a fixed split beats (100,100) depends on the assumption: it does in ${gaining} of ${gains.length}`;
  const low = Math.min(...all.map(({ study }) => study.openPerS));
  const high = Math.max(...all.map(({ study }) => study.openPerS));
  return [
    `${workload}: ${sign}; its gain in sustainable rate goes from ${signed(least.gain)} % (${least.assumption}) to ${signed(most.gain)} % (${most.assumption}). With the profile as it is the gain over ${asIs.length} seed${asIs.length === 1 ? "" : "s"} is ${seedGains.map((gain) => `${signed(gain)} %`).join(", ")}.`,
    `${workload}: the best split is ${splits}; its caps sum to over 100 in ${over} of ${all.length}. What (100,100) itself sustains goes from ${low.toFixed(1)} to ${high.toFixed(1)} requests/s.`,
    `${workload}: gain by what is changed: ${byKind(changed)}.`,
    ...seedFinding(workload, asIs),
  ];
}

/** The range of gains that each kind of assumption spans. */
function byKind(rows: readonly SensitivityRow[]): string {
  const kinds = [...new Set(rows.map((row) => row.kind))];
  return kinds
    .map((kind) => {
      const gains = rows.filter((row) => row.kind === kind).map(({ study }) => gainPct(study));
      return `${kind} ${signed(Math.min(...gains))} to ${signed(Math.max(...gains))} %`;
    })
    .join("; ");
}

function seedFinding(workload: string, asIs: readonly SplitStudy[]): string[] {
  if (asIs.length < 2) return [];
  const rates = asIs.map((study) => study.openPerS);
  const apart = 100 * (Math.max(...rates) / Math.min(...rates) - 1);
  return [
    `${workload}: what (100,100) sustains differs by ${apart.toFixed(0)} % between seeds; within a row and a seed all splits have the same requests.`,
  ];
}

function countOf(values: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts]
    .toSorted((a, b) => b[1] - a[1])
    .map(([value, count]) => `${value} in ${count}`)
    .join(", ");
}
