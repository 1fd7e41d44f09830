/** Loads that change: what the contenders attained and how long they took to come back. */
import type { Results } from "@fulcrum/evaluation/results.js";
import { changesOf } from "@fulcrum/evaluation/recovery.js";
import { scenarioOf } from "@fulcrum/evaluation/scenarios.js";
import { median } from "@fulcrum/evaluation/statistics.js";
import { recoveryRatio } from "@fulcrum/evaluation/changing-targets.js";
import { boundsOf, contendersOf, lanesOf, placesOf } from "./grid-section.js";
import { mdTable, middle, percent, percentSpread } from "./markdown.js";

export function changingSection(results: Results): string {
  const scenarios = results.scenarios("grid").filter((name) => !scenarioOf(name).steady);
  return scenarios.map((name) => scenarioTable(results, name)).join("\n\n");
}

function scenarioTable(results: Results, scenario: string): string {
  const places = placesOf(results, scenario, 1);
  const bounds = boundsOf(results, places);
  const changes = changesOf(scenarioOf(scenario)).length > 0;
  const oracles = bounds.map((each) => each.oracle.bothOk);
  const bests = bounds.map((each) => each.best.bothOk);
  const rows = contendersOf(results, scenario).map((name) => {
    const shares = lanesOf(results, places, name).map((lane) => lane.bothOk);
    const recovery = changes ? recoveryRatio(results, scenario, name) : null;
    const switches = lanesOf(results, places, name).map((lane) => lane.switches.length);
    return [
      name,
      percentSpread(shares),
      middle(
        shares.map((share, i) => share / (oracles[i] ?? Number.NaN)),
        3,
      ),
      percent(median(shares.map((share, i) => share - (bests[i] ?? Number.NaN)))),
      recovery === null ? "-" : (recovery.ms / 1000).toFixed(0),
      middle(switches, 0),
    ];
  });
  const split = bounds[0]?.best.split;
  const fixed =
    split === undefined ? "best fixed" : `best fixed (${split.prefillSmPct}/${split.decodeSmPct})`;
  const oracleRecovery = changes ? recoveryRatio(results, scenario, "100/100") : null;
  const oracleS = oracleRecovery === null ? "-" : (oracleRecovery.oracleMs / 1000).toFixed(0);
  rows.push(
    [fixed, percentSpread(bests), "", "", "-", "0"],
    [
      "oracle",
      percentSpread(oracles),
      "",
      "",
      oracleS,
      middle(
        bounds.map((each) => each.oracle.switches.length),
        0,
      ),
    ],
  );
  const head = [
    "contender",
    "attained %",
    "/ oracle",
    "less best fixed, points",
    "recovers in s",
    "switches",
  ];
  return `#### ${scenarioOf(scenario).title} (\`${scenario}\`)\n\n${mdTable(head, rows)}`;
}
