import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { fitToContext, poissonArrivals, replayArrivals, type Lengths } from "@fulcrum/simulator/arrivals.js";
import { SimulatorInputError } from "@fulcrum/simulator/input-check.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import { parseProfile, type Profile } from "@fulcrum/simulator/profile.js";
import { parseAzureCsv, parseLengthsCsv, parseMooncakeJsonl } from "@fulcrum/simulator/trace-formats.js";
import { parseWorkload, workloadArrivals, type Workload } from "@fulcrum/simulator/workload.js";
import type { LoadSetup } from "./options.js";

/** Profiles and workloads that come with the engine (the same folder seen from src and from dist). */
const DATA = fileURLToPath(new URL("../data", import.meta.url));

const MAX_JSON_BYTES = 4 * 1024 * 1024;
const MAX_TRACE_BYTES = 512 * 1024 * 1024;

/** Reads a profile by bundled name or path. Throws SimulatorInputError naming the file and the field. */
export function loadProfile(nameOrPath: string): Profile {
  const path = resolve(nameOrPath);
  return parseProfile(readJson(path), path);
}

/** Reads a workload by bundled name or path. Throws SimulatorInputError naming the file and the field. */
export function loadWorkload(nameOrPath: string): Workload {
  const path = resolve(nameOrPath);
  return parseWorkload(readJson(path), path);
}

export interface Arrivals {
  readonly requests: Iterator<SimRequest>;
  /** What was read, what was dropped and what happens at the end, for the log. */
  readonly about: Readonly<Record<string, string | number>>;
}

/** Opens the load that the options ask for. Throws SimulatorInputError naming the file and the line. */
export function openArrivals(options: LoadSetup): Arrivals {
  const { load, seed, rateScale } = options;
  const repeat = !options.once;
  const end = options.once ? "stops" : "repeats";
  if (load.kind === "workload") {
    const workload = loadWorkload(load.workload);
    const startMs = options.traceStartMs;
    const requests = workloadArrivals(workload, { seed, rateScale, startMs, repeat });
    return { requests, about: { workload: workload.name, atItsEnd: end } };
  }
  const text = readText(load.file, MAX_TRACE_BYTES);
  const file = basename(load.file);
  if (load.format === "lengths") {
    const { rows, about } = fit(parseLengthsCsv(text, file), options, file);
    const ratePerS = (load.ratePerS ?? 0) * rateScale;
    return {
      requests: poissonArrivals(rows, ratePerS, seed),
      about: { ...about, ratePerS, atItsEnd: "endless" },
    };
  }
  const parse = load.format === "azure" ? parseAzureCsv : parseMooncakeJsonl;
  const { rows, about } = fit(parse(text, file), options, file);
  const requests = replayArrivals(rows, { rateScale, startMs: options.traceStartMs, repeat });
  return { requests, about: { ...about, atItsEnd: end } };
}

function fit<T extends Lengths>(all: readonly T[], options: LoadSetup, file: string) {
  const { rows, ...dropped } = fitToContext(all, options.maxContextTokens, options.maxPromptTokens);
  if (rows.length === 0) {
    throw new SimulatorInputError(`${file}: no request fits --max-context ${options.maxContextTokens}`);
  }
  return { rows, about: { trace: file, requests: rows.length, ...dropped } };
}

function resolve(nameOrPath: string): string {
  const bundled = join(DATA, `${nameOrPath}.json`);
  if (/^[a-z0-9-]+$/.test(nameOrPath) && existsSync(bundled)) return bundled;
  if (existsSync(nameOrPath)) return nameOrPath;
  const names = readdirSync(DATA).filter((name) => name.endsWith(".json"));
  throw new SimulatorInputError(
    `${nameOrPath}: no such file; bundled: ${names.map((name) => name.slice(0, -5)).join(", ")}`,
  );
}

function readJson(path: string): unknown {
  const text = readText(path, MAX_JSON_BYTES);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SimulatorInputError(`${path}: is no JSON: ${(error as Error).message}`, { cause: error });
  }
}

function readText(path: string, maxBytes: number): string {
  try {
    const { size } = statSync(path);
    if (size > maxBytes) throw new SimulatorInputError(`${path}: has ${size} bytes; at most ${maxBytes}`);
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof SimulatorInputError) throw error;
    throw new SimulatorInputError(`${path}: cannot be read: ${(error as Error).message}`, { cause: error });
  }
}
