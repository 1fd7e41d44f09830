import { tableText } from "../text/table.js";
import { allocationWords, durationWords, latencyWords, shareWords, sloWords } from "../text/words.js";
import type { DemoFigures, LaneFigures } from "./figures.js";

type Row = readonly [string, (lane: LaneFigures) => string];

const ROWS: readonly Row[] = [
  ["within both bounds", (lane) => shareWords(lane.attainmentShare)],
  ["TTFT within its bound", (lane) => shareWords(lane.ttftOkShare)],
  ["TPOT within its bound", (lane) => shareWords(lane.tpotOkShare)],
  ["goodput", (lane) => (lane.goodputPerS === null ? "-" : `${lane.goodputPerS.toFixed(2)}/s`)],
  ["requests arrived", (lane) => String(lane.requests.arrived)],
  ["requests finished", (lane) => String(lane.requests.finished)],
  ["moves", (lane) => String(total(lane.moves))],
  ["holds recorded", (lane) => String(total(lane.holds))],
  ["reconfigurations", (lane) => String(lane.reconfigurations.count)],
  ["  took, median", (lane) => latencyWords(lane.reconfigurations.p50Ms)],
  ["  took, longest", (lane) => latencyWords(lane.reconfigurations.maxMs)],
  ["  rolled back", (lane) => String(lane.reconfigurations.rolledBack)],
  ["  failed", (lane) => String(lane.reconfigurations.failed)],
  ["first decision after", (lane) => latencyWords(lane.firstDecisionMs)],
  ["first move after", (lane) => latencyWords(lane.firstMoveMs)],
  ["split at the end", (lane) => allocationWords(lane.finalAllocation)],
];

/** The closing table, the reasons, and the verdict. */
export function closingText(figures: DemoFigures, width: number | null): string {
  const { lanes, durationS, speed } = figures;
  const engineTime = durationWords(Math.max(...lanes.map((lane) => lane.engineS)) * 1_000);
  return [
    `After ${durationS} s (${engineTime} of engine time at ${speed}x) of ${figures.load}, seed ${figures.seed}.`,
    `SLO: ${sloWords(figures.slo)}. Shares are of finished requests, by the engines' own counters.`,
    "",
    tableText(
      [{ title: "" }, ...lanes.map(({ name }) => ({ title: name, right: true }))],
      ROWS.map(([title, value]) => [title, ...lanes.map(value)]),
      width,
    ),
    "",
    ...lanes.flatMap(reasonLines),
    "",
    figures.verdict,
    "One run of one load on a simulated engine: a demonstration, not a benchmark.",
  ].join("\n");
}

function reasonLines(lane: LaneFigures): string[] {
  const words = (reasons: Readonly<Record<string, number>>) =>
    Object.entries(reasons)
      .sort(([, a], [, b]) => b - a)
      .map(([reason, count]) => `${reason} ${count}`)
      .join(", ") || "none";
  return [`${lane.name}: moves ${words(lane.moves)}; holds ${words(lane.holds)}`];
}

function total(reasons: Readonly<Record<string, number>>): number {
  return Object.values(reasons).reduce((sum, count) => sum + count, 0);
}
