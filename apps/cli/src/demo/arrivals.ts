/** The requests and the GPU that the demo's engines are started with, for a run without engines. */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { fitToContext, poissonArrivals, replayArrivals } from "@fulcrum/simulator/arrivals.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import { parseProfile, type Profile } from "@fulcrum/simulator/profile.js";
import { parseAzureCsv, parseLengthsCsv, parseMooncakeJsonl } from "@fulcrum/simulator/trace-formats.js";
import { parseWorkload, workloadArrivals } from "@fulcrum/simulator/workload.js";
import { WORKLOAD, type Load } from "./setting.js";

/** As engine-sim's own defaults. */
const PROFILE = "llama3-8b-a100";
const MAX_CONTEXT_TOKENS = 8_192;

/** Requests that arrive within `endMs` of engine time. @throws SimulatorInputError naming file and line */
export function requestsUntil(load: Load, seed: number, endMs: number): readonly SimRequest[] {
  const found: SimRequest[] = [];
  for (const request of arrivalsOf(load, seed)) {
    if (request.arrivalMs > endMs) break;
    found.push(request);
  }
  return found;
}

/** The bundled load's kinds at steady rates, per second of engine time. */
export function mixedRequests(
  ratePerS: Readonly<Record<string, number>>,
  seed: number,
  endMs: number,
): readonly SimRequest[] {
  const workload = parseWorkload(bundled(WORKLOAD), WORKLOAD);
  const phases = [{ name: "steady", durationMs: endMs, rampMs: 0, ratePerS }];
  const options = { seed, rateScale: 1, startMs: 0, repeat: false };
  return [...workloadArrivals({ ...workload, phases }, options)];
}

export function bundledProfile(): Profile {
  return parseProfile(bundled(PROFILE), PROFILE);
}

function arrivalsOf({ trace, rateScale }: Load, seed: number): Iterable<SimRequest> {
  const again = { rateScale, startMs: 0, repeat: true };
  if (trace === null) return workloadArrivals(parseWorkload(bundled(WORKLOAD), WORKLOAD), { seed, ...again });
  const text = readFileSync(trace.file, "utf8");
  const file = basename(trace.file);
  if (trace.format === "lengths") {
    const { rows } = fitToContext(parseLengthsCsv(text, file), MAX_CONTEXT_TOKENS, Infinity);
    return poissonArrivals(rows, (trace.ratePerS ?? 0) * rateScale, seed);
  }
  const parse = trace.format === "azure" ? parseAzureCsv : parseMooncakeJsonl;
  return replayArrivals(fitToContext(parse(text, file), MAX_CONTEXT_TOKENS, Infinity).rows, again);
}

/** The same folder seen from src and from dist. */
function bundled(name: string): unknown {
  const file = fileURLToPath(new URL(`../../../engine-sim/data/${name}.json`, import.meta.url));
  return JSON.parse(readFileSync(file, "utf8"));
}
