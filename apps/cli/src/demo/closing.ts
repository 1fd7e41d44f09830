import { writeFileSync } from "node:fs";
import type { Allocation } from "@fulcrum/core/nouns.js";
import { printLine, terminalWidth, type Io } from "../io.js";
import { tableText } from "../text/table.js";
import { latencyWords, shareWords, sloWords, trimmed } from "../text/words.js";
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
  ["holds stored", (lane) => String(total(lane.holds))],
  ["reconfigurations", (lane) => String(lane.reconfigurations.count)],
  ["  took, median", (lane) => latencyWords(lane.reconfigurations.p50Ms)],
  ["  took, longest", (lane) => latencyWords(lane.reconfigurations.maxMs)],
  ["  rolled back", (lane) => String(lane.reconfigurations.rolledBack)],
  ["  failed", (lane) => String(lane.reconfigurations.failed)],
  ["first decision after", (lane) => latencyWords(lane.firstDecisionMs)],
  ["first move after", (lane) => latencyWords(lane.firstMoveMs)],
  ["split at the end", (lane) => (lane.finalAllocation === null ? "-" : splitWords(lane.finalAllocation))],
  [
    "KV quota at the end",
    (lane) => (lane.finalAllocation === null ? "-" : `${trimmed(lane.finalAllocation.kvQuotaPct, 1)} %`),
  ],
];

/** Prints the closing table; writes all figures to the file where one is named. */
export function tellFigures(io: Io, figures: DemoFigures, jsonFile: string | undefined): void {
  printLine(io, closingText(figures, terminalWidth(io)));
  if (jsonFile !== undefined) writeFileSync(jsonFile, `${JSON.stringify(figures, null, 2)}\n`);
}

/** The closing table, the reasons, and the verdict. */
export function closingText(figures: DemoFigures, width: number | null): string {
  const { lanes, durationS, speed } = figures;
  const engineTime = `${Math.round(Math.max(...lanes.map((lane) => lane.engineS)))} s of engine time`;
  const span =
    figures.time === "real"
      ? `After ${durationS} s (${engineTime} at ${speed}x)`
      : `In virtual time, after ${engineTime} (all times are the engine's)`;
  return [
    `${span} of ${figures.load}, seed ${figures.seed}.`,
    `SLO: ${sloWords(figures.slo)}. Shares are of finished requests${figures.time === "real" ? ", by the engines' own counters" : ""}.`,
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
    ...(figures.time === "real" ? ["--virtual plays the same without processes, in virtual time."] : []),
  ].join("\n");
}

/** The paper's (x, y): "60/40". */
function splitWords({ split }: Allocation): string {
  return `${trimmed(split.prefillSmPct, 1)}/${trimmed(split.decodeSmPct, 1)}`;
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
