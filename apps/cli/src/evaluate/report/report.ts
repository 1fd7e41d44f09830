/** The whole report as Markdown. Every sentence about results is made from the numbers. */
import { POLICY_VERSIONS } from "@fulcrum/core/defaults.js";
import { CONTENDER_TITLES, type ContenderName } from "@fulcrum/evaluation/contenders.js";
import type { Results } from "@fulcrum/evaluation/results.js";
import { scenarioOf } from "@fulcrum/evaluation/scenarios.js";
import { spreadOf } from "@fulcrum/evaluation/statistics.js";
import { EDGE_MS } from "@fulcrum/evaluation/summary.js";
import { steadySwitchRates } from "@fulcrum/evaluation/steady-targets.js";
import { ORACLE, OPEN, type TargetLine } from "@fulcrum/evaluation/target-line.js";
import type { World } from "@fulcrum/evaluation/world.js";
import type { Figure } from "../figures/paper-figures.js";
import { sloWords } from "../../text/words.js";
import { changingSection } from "./changing-section.js";
import { gainSection } from "./gain-section.js";
import { steadySection } from "./grid-section.js";
import { mdTable, mdTextTable, middle } from "./markdown.js";
import { overviewSection, shortfallSection } from "./overview-section.js";
import { ablationSection, controlSection, plantSection } from "./variant-sections.js";

export interface ReportParts {
  readonly results: Results;
  readonly world: World;
  readonly targets: readonly TargetLine[];
  readonly figures: readonly Figure[];
  /** A file beside the report about what did not help; null when there is none. */
  readonly tried: string | null;
  /** The command line that made it. */
  readonly command: string;
}

export function reportMarkdown(parts: ReportParts): string {
  const { results, world, targets, figures } = parts;
  const missed = targets.filter((line) => line.verdict === "missed").length;
  const met = targets.filter((line) => line.verdict === "met").length;
  const versions = Object.entries(POLICY_VERSIONS).map(([name, version]) => `${name} ${version}`);
  const sections = [
    "# Policies under simulated loads",
    `Made by \`${parts.command}\` on the profile \`${world.profile.name}\`; policy versions: ${versions.join(", ")}. All of it is simulated; [simulator.md](../simulator.md) says how far the simulator can be trusted.`,
    "## Targets",
    `${met} met, ${missed} missed.`,
    mdTextTable(
      ["measure", "wanted", "measured", ""],
      targets.map((line) => [line.measure, line.wanted, line.measured, line.verdict]),
    ),
    "## Overview",
    overviewSection(results),
    "## Where search falls short",
    shortfallSection(results),
    "## What was run",
    workloadsTable(results, world),
    contendersList(results),
    METHOD,
    "## Figures",
    ...figures.map((figure) => `![${figure.file}](${figure.file})\n\n${figure.caption}`),
    "## Where splitting gains nothing",
    gainSection(results, world),
    "## Highest rates",
    highestSection(results, world),
    "## Changing loads",
    changingSection(results) || "Not run.",
    "## Steady loads",
    steadySection(results, world) || "Not run.",
    "### Switches at steady load",
    switchesSection(results),
    "## Ablations",
    "Search with one of its parts changed: percent of requests within both bounds, median over seeds.",
    ablationSection(results),
    "## Sensitivity",
    "### What is assumed of the GPU",
    plantSection(results),
    "### The controller's times, and what search is told",
    controlSection(results),
    ...(parts.tried === null
      ? []
      : ["## What was tried and did not help", `[${parts.tried}](${parts.tried})`]),
  ];
  return `${sections.join("\n\n")}\n`;
}

const METHOD = `How it was measured:

- A rate is told as a part of r_max, what one GPU sustains when the phases take turns on it, by kernel times alone. Loads that change run as they are.
- Steady loads last five minutes. The first and last ${EDGE_MS / 1000} s of arrivals do not count, and requests that have not finished two minutes after the last arrival have missed.
- The same seed gives every contender the same requests, and every rate the same draws.
- Policies start at (100,100), see what an agent would report, and decide through decide() with its default guards.
- _Best fixed_ is the split that served these very requests best, of a coarse net over both caps and two rounds of neighbours. _Oracle_ is the better of that and of a clairvoyant controller: every 10 s it plays the arrivals that really come, 30 s ahead, under the four best fixed splits, and takes the best at once and for free. Under changing loads it also tries a net over all ratios, and looks 50 s ahead too. It is greedy: a mark to measure against, not the best possible.
- _Known at first decision_ is what that best fixed split serves when a controller that starts at (100,100) takes it at its first decision and keeps it: about the most that a fixed choice reaches when nothing is known before the first window.
- _Recovers in_: from a change of the load to the end of the first 10 s whose arrivals, with the next 20 s, attain within 5 points of what the oracle attains in the second half of the phase; mean over changes and seeds.`;

function workloadsTable(results: Results, world: World): string {
  const rows = results.scenarios("grid").map((name) => {
    const scenario = scenarioOf(name);
    const rates = scenario.kinds.map((kind) => world.maxPerS(kind).toFixed(1));
    return [name, scenario.title, sloWords(scenario.slo), rates.join(", "), world.about(scenario)];
  });
  return mdTextTable(["workload", "what it is", "SLO", "r_max /s", "lengths"], rows);
}

function contendersList(results: Results): string {
  const names = results.contenders("grid").filter((name): name is ContenderName => name in CONTENDER_TITLES);
  return ["Contenders:", "", ...names.map((name) => `- \`${name}\`: ${CONTENDER_TITLES[name]}`)].join("\n");
}

function highestSection(results: Results, world: World): string {
  const scenarios = results.scenarios("highest");
  if (scenarios.length === 0) return "Not run.";
  const names = results.contenders("highest");
  const rows = names.map((name) => [
    name,
    ...scenarios.flatMap((scenario) => {
      const fractions = [...results.highest(scenario, name).values()];
      const rates = spreadOf(fractions.map((fraction) => world.meanPerS(scenarioOf(scenario), fraction)));
      if (rates === null) return ["-", "-"];
      const range = `${rates.least.toFixed(2)}-${rates.greatest.toFixed(2)}`;
      const ratios = results.highestRatios(scenario, name, OPEN);
      return [`${rates.median.toFixed(2)} (${range})`, middle(ratios, 3)];
    }),
  ]);
  const head = ["contender", ...scenarios.flatMap((scenario) => [`${scenario}, req/s`, "/ (100,100)"])];
  const words =
    "The highest rate with at least 90 % of requests within both bounds, by bisection; median and range over seeds, ratios seed by seed.";
  return `${[words, ...oracleSeeds(results, scenarios)].join(" ")}\n\n${mdTable(head, rows)}`;
}

/** The oracle's median is of fewer seeds than the others': only its ratio compares like with like. */
function oracleSeeds(results: Results, scenarios: readonly string[]): readonly string[] {
  const seeds = new Set(scenarios.flatMap((scenario) => [...results.highest(scenario, ORACLE).keys()]));
  return seeds.size === 0
    ? []
    : [`The oracle ran on ${seeds.size === 1 ? "seed" : "seeds"} ${[...seeds].join(", ")}.`];
}

function switchesSection(results: Results): string {
  const names = results.contenders("long");
  const [first] = names;
  if (first === undefined) return "Not run.";
  const rows = steadySwitchRates(results, first).map(({ at }, i) => [
    `${at.scenario} at ${at.fraction}, seed ${at.seed}`,
    ...names.map((name) => steadySwitchRates(results, name)[i]?.value.toFixed(1) ?? "-"),
  ]);
  return `Per ten minutes, in the last fifteen of twenty.\n\n${mdTable(["run", ...names], rows)}`;
}
