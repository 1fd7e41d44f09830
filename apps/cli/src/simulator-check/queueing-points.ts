import { existsSync } from "node:fs";
import { join } from "node:path";
import { SimulatorInputError } from "@fulcrum/simulator/input-check.js";
import { readInput } from "./input-files.js";
import { QUEUEING, QUEUEING_POINTS, type QueueingPoint } from "./references.js";
import type { QueueingPoints } from "./section.js";

/** The benchmark's own results file, under a data folder. */
const FILE = "queueing/results.txt";

/** All benchmark points where the data folder has the source's results file, else the ten that are known here. */
export function loadQueueingPoints(dataDir: string | null): QueueingPoints {
  const path = dataDir === null ? null : join(dataDir, FILE);
  if (path === null || !existsSync(path)) {
    const missing = QUEUEING.allPoints - QUEUEING_POINTS.length;
    return {
      points: QUEUEING_POINTS,
      about: `Only ${QUEUEING_POINTS.length} of the ${QUEUEING.allPoints} points are at hand, and they were not drawn at random: the other ${missing} are in no file that this check has (they are the results.txt of ${QUEUEING.source}; as ${FILE} in the data folder it is used whole).`,
    };
  }
  const points = parseResults(readInput(path), FILE);
  return { points, about: `${points.length} points of ${FILE} (${QUEUEING.source}).` };
}

/**
 * The table of a model-trainer run: lines of rps, input tokens, output tokens, measured and predicted TTFT,
 * measured and predicted ITL in ms. Other lines are its log. Throws SimulatorInputError without points.
 */
export function parseResults(text: string, file: string): QueueingPoint[] {
  const points = text.split("\n").flatMap((line): QueueingPoint[] => {
    const cells = line.trim().split(/\s+/).map(Number);
    if (cells.length !== 7 || !cells.every((value) => value > 0)) return [];
    const [ratePerS = 0, inputTokens = 0, outputTokens = 0, ttftMs = 0, , itlMs = 0] = cells;
    return [{ ratePerS, inputTokens, outputTokens, ttftMs, itlMs }];
  });
  if (points.length === 0) throw new SimulatorInputError(`${file}: has no line of seven numbers above 0`);
  return points;
}
