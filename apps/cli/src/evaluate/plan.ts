/** Which runs an evaluation takes. */
import { CONTENDERS, searchContender, type ContenderName } from "@fulcrum/evaluation/contenders.js";
import type { Contender } from "@fulcrum/evaluation/contender.js";
import { OTHER_CURVES, type PlantChange } from "@fulcrum/evaluation/plant.js";
import type { Section } from "@fulcrum/evaluation/results.js";
import type { Job, Setting } from "@fulcrum/evaluation/run-job.js";
import { SCENARIOS, scenarioOf, type Scenario } from "@fulcrum/evaluation/scenarios.js";
import { ORACLE } from "@fulcrum/evaluation/target-line.js";
import { BASE_VARIANT } from "@fulcrum/evaluation/targets.js";
import { ABLATIONS } from "./ablations.js";

export interface PlannedRun {
  readonly section: Section;
  readonly variant: string;
  readonly contender: string;
  readonly job: Job;
}

export interface Selection {
  readonly workloads: readonly string[];
  /** Of r_max, for steady workloads; the others run as they are. */
  readonly fractions: readonly number[];
  readonly seeds: readonly number[];
  readonly contenders: readonly ContenderName[];
  readonly intervalMs: number;
  readonly prepareMs: number;
}

type Times = Pick<Selection, "intervalMs" | "prepareMs">;

/** Every workload, rate and seed under every contender, and their bounds. */
export function gridRuns(selection: Selection): readonly PlannedRun[] {
  const runs: PlannedRun[] = [];
  for (const scenario of selection.workloads) {
    const fractions = scenarioOf(scenario).steady ? selection.fractions : [1];
    for (const fraction of fractions) {
      for (const seed of selection.seeds) {
        const setting = settingOf(selection, scenario, fraction, seed);
        runs.push({ section: "grid", variant: "", contender: "", job: { type: "bounds", setting } });
        for (const name of selection.contenders) runs.push(lane("grid", "", name, setting));
      }
    }
  }
  return runs;
}

const POLICIES: readonly ContenderName[] = [
  "100/100",
  "50/50",
  "feedback",
  "semi-pd",
  "search",
  "search-blind",
];
const ENGINES: readonly ContenderName[] = ["prefill-first", "chunked", "disaggregated"];

/** Those of the paper's figures and of the targets get every rate and seed, and the engines of other kinds. */
const MAIN = ["chat-tight", "documents-tight"];
const WITH_ENGINES = [...MAIN, "chat-loose", "documents-loose"];
const FRACTIONS = [0.5, 0.7, 0.85, 0.95, 1.05];
/** Variations of the lengths, bounds and gaps of the others. */
const VARIATIONS = ["chat-clumped", "documents-loose", "documents-2040", "documents-4000", "mooncake"];
const FEWER_FRACTIONS = [0.7, 0.85, 0.95];
const ALL_SEEDS = [1, 2, 3, 4, 5];
const FEWER_SEEDS = [1, 2, 3];

/** Everything that the report is made of, for the first `seeds` seeds and the scenarios that `has` has data for. */
export function allRuns(
  times: Times,
  seeds: number,
  has: (scenario: Scenario) => boolean,
): readonly PlannedRun[] {
  const there = SCENARIOS.filter(has);
  const grid = there.flatMap(({ name, steady }) => {
    const main = MAIN.includes(name);
    return gridRuns({
      ...times,
      workloads: [name],
      fractions: VARIATIONS.includes(name) ? FEWER_FRACTIONS : FRACTIONS,
      seeds: main || !steady ? ALL_SEEDS : FEWER_SEEDS,
      contenders: WITH_ENGINES.includes(name) ? [...POLICIES, ...ENGINES] : POLICIES,
    });
  });
  const names = there.map((scenario) => scenario.name);
  const extra = [
    ...highestRuns(times),
    ...highestBoundRuns(times),
    ...longRuns(times),
    ...plantRuns(times),
    ...controlRuns(times),
    ...ablationRuns(times),
    ...shareRuns(times),
  ];
  const runs = [...grid, ...extra.filter(({ job }) => names.includes(job.setting.scenario))];
  return runs.filter(({ job }) => job.setting.seed <= seeds);
}

function highestRuns(times: Times): readonly PlannedRun[] {
  return MAIN.flatMap((scenario) =>
    ALL_SEEDS.flatMap((seed) =>
      POLICIES.map((contender): PlannedRun => {
        const setting = settingOf(times, scenario, 0, seed);
        const job: Job = { type: "highest", setting, contender: CONTENDERS[contender] };
        return { section: "highest", variant: "", contender, job };
      }),
    ),
  );
}

/** Three seeds: each step of a bisection is a search over fixed splits and a run of the oracle. */
function highestBoundRuns(times: Times): readonly PlannedRun[] {
  return MAIN.flatMap((scenario) =>
    FEWER_SEEDS.map((seed): PlannedRun => {
      const job: Job = { type: "highest-bound", setting: settingOf(times, scenario, 0, seed) };
      return { section: "highest", variant: "", contender: ORACLE, job };
    }),
  );
}

/** Twenty minutes each. */
const LONG = 4;

function longRuns(times: Times): readonly PlannedRun[] {
  return ["chat-tight", "documents-tight", "conversation", "long-answers"].flatMap((scenario) =>
    [0.7, 0.9].flatMap((fraction) =>
      FEWER_SEEDS.flatMap((seed) =>
        (["search", "feedback"] as const).map((contender): PlannedRun => {
          const setting = settingOf(times, scenario, fraction, seed);
          const job: Job = { type: "lane", setting, contender: CONTENDERS[contender], stretch: LONG };
          return { section: "long", variant: "", contender, job };
        }),
      ),
    ),
  );
}

/** Where sensitivity is looked at: near capacity, where a split matters. */
const SENSITIVE: readonly (readonly [scenario: string, fraction: number])[] = [
  ["chat-tight", 0.95],
  ["documents-tight", 0.75],
  ["conversation", 0.85],
  ["changing-kinds", 1],
];

/** What nothing public measures of the GPU. */
export const PLANT_VARIANTS: Readonly<Record<string, PlantChange>> = {
  "overlap: constant part": { overlapRule: "constant" },
  "overlap: proportional": { overlapRule: "proportional" },
  "overlap: by cap": { overlapRule: "by-cap" },
  "no contention": { contention: 0 },
  "contention x2": { contention: 2 },
  "engine constants x0.5": { engine: 0.5 },
  "engine constants x2": { engine: 2 },
};

/** Two seeds: each carries its own best fixed split, the dearest runs of all. */
const PLANT_SEEDS = [1, 2];

function plantRuns(times: Times): readonly PlannedRun[] {
  return sensitive(times, PLANT_SEEDS).flatMap((base) =>
    Object.entries(PLANT_VARIANTS).flatMap(([variant, plant]): PlannedRun[] => {
      const setting = { ...base, plant };
      const bounds: Job = { type: "bounds", setting, withoutOracle: true };
      const lanes = (["100/100", "feedback", "search"] as const).map((name) =>
        lane("sensitivity", variant, name, setting),
      );
      return [{ section: "sensitivity", variant, contender: "", job: bounds }, ...lanes];
    }),
  );
}

/** What differs about the controller: its times, and what the search policy is told. */
export const CONTROL_VARIANTS: Readonly<Record<string, Partial<Times>>> = {
  "decides every 1 s": { intervalMs: 1_000 },
  "decides every 15 s": { intervalMs: 15_000 },
  "decides every 60 s": { intervalMs: 60_000 },
  "prepares 0.05 s": { prepareMs: 50 },
  "prepares 10 s": { prepareMs: 10_000 },
  "prepares 30 s": { prepareMs: 30_000 },
};

/** By the names of WRONG_PROFILES. */
const TOLD: Readonly<Record<string, PlantChange | null>> = {
  "profile 1.5 times too slow": { stepTimes: 1.5 },
  "profile 1.5 times too fast": { stepTimes: 1 / 1.5 },
  "profile with other curves": { curves: OTHER_CURVES },
  "no profile": null,
};

function controlRuns(times: Times): readonly PlannedRun[] {
  return sensitive(times, ALL_SEEDS).flatMap((base): PlannedRun[] => [
    ...(["100/100", "search"] as const).map((name) => lane("sensitivity", BASE_VARIANT, name, base)),
    ...Object.entries(CONTROL_VARIANTS).map(([variant, changed]) =>
      lane("sensitivity", variant, "search", { ...base, ...changed }),
    ),
    ...Object.entries(TOLD).map(([variant, told]) =>
      contending("sensitivity", variant, "search", base, searchContender(told)),
    ),
  ]);
}

function sensitive(times: Times, seeds: readonly number[]): readonly Setting[] {
  return SENSITIVE.flatMap(([scenario, fraction]) =>
    seeds.map((seed) => settingOf(times, scenario, fraction, seed)),
  );
}

const ABLATED: readonly (readonly [scenario: string, fraction: number])[] = [
  ...SENSITIVE,
  ["documents-tight", 0.9],
  ["long-answers", 0.95],
  ["changing-often", 1],
  ["bursts", 1],
  ["silences", 1],
];

function ablationRuns(times: Times): readonly PlannedRun[] {
  return ABLATED.flatMap(([scenario, fraction]) =>
    FEWER_SEEDS.flatMap((seed) => {
      const setting = settingOf(times, scenario, fraction, seed);
      return ABLATIONS.map(({ name, contender }) =>
        contending("ablation", name, "search", setting, contender),
      );
    }),
  );
}

/** Exclusive splits under chat at half of its capacity: the curves of the paper's Fig 10. */
export const SHARES_PCT = [30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80] as const;

function shareRuns(times: Times): readonly PlannedRun[] {
  return SHARES_PCT.map((prefillSmPct) => {
    const split = { prefillSmPct, decodeSmPct: 100 - prefillSmPct };
    const setting = settingOf(times, "chat-tight", 0.5, 1);
    return contending("shares", "", `${prefillSmPct}`, setting, { kind: "fixed", split });
  });
}

function lane(section: Section, variant: string, name: ContenderName, setting: Setting): PlannedRun {
  return contending(section, variant, name, setting, CONTENDERS[name]);
}

function contending(
  section: Section,
  variant: string,
  name: string,
  setting: Setting,
  contender: Contender,
): PlannedRun {
  return { section, variant, contender: name, job: { type: "lane", setting, contender } };
}

function settingOf(times: Times, scenario: string, fraction: number, seed: number): Setting {
  const { intervalMs, prepareMs } = times;
  return { scenario, fraction, seed, plant: {}, intervalMs, prepareMs };
}
