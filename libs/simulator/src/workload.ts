import { Fields, refuse } from "./input-check.js";
import { createRandom, valueAtQuantile, type QuantileTable, type Random } from "./random.js";
import type { SimRequest } from "./job.js";

/** Arrivals in phases, their lengths drawn from joint quantile tables. */
export interface Workload {
  readonly name: string;
  readonly sources: string;
  readonly kinds: Readonly<Record<string, LengthTable>>;
  readonly phases: readonly WorkloadPhase[];
}

/** Prompt and output lengths belong together: a band is drawn by its weight, then each length inside it. */
export type LengthTable = readonly LengthBand[];

export interface LengthBand {
  readonly weight: number;
  readonly promptTokens: QuantileTable;
  readonly outputTokens: QuantileTable;
}

export interface WorkloadPhase {
  readonly name: string;
  readonly durationMs: number;
  /** The first part of the phase, in which rates move in a straight line from the phase before. */
  readonly rampMs: number;
  /** Requests per second of each kind; a kind that is not named does not arrive. */
  readonly ratePerS: Readonly<Record<string, number>>;
}

/** Checks a workload as it comes out of JSON.parse. `where` names the file. Throws SimulatorInputError. */
export function parseWorkload(value: unknown, where: string): Workload {
  const fields = new Fields(value, where);
  fields.only(["name", "sources", "kinds", "phases"]);
  const kindFields = fields.object("kinds");
  const kinds: Record<string, LengthTable> = {};
  for (const kind of kindFields.names()) kinds[kind] = kindFields.objects(kind, 1, 100).map(parseBand);
  const phases = fields.objects("phases", 1, 1000).map((phase) => parsePhase(phase, kinds));
  if (!phases.some((phase) => totalRate(phase.ratePerS) > 0)) {
    refuse(where, "phases", "must have a rate above 0 in at least one phase");
  }
  return { name: fields.text("name"), sources: fields.text("sources"), kinds, phases };
}

function parseBand(fields: Fields): LengthBand {
  fields.only(["weight", "promptTokens", "outputTokens"]);
  return {
    weight: fields.number("weight", 0.000001, 1e6),
    promptTokens: parseTable(fields, "promptTokens"),
    outputTokens: parseTable(fields, "outputTokens"),
  };
}

function parseTable(fields: Fields, name: string): QuantileTable {
  const path = `${fields.path}.${name}`;
  const table = fields.list(name, 2, 1000).map((point, index): readonly [number, number] => {
    const [probability, value] = Array.isArray(point) ? (point as unknown[]) : [];
    if (typeof probability !== "number" || typeof value !== "number" || !(value >= 1 && value <= 1e6)) {
      refuse(fields.where, `${path}[${index}]`, "must be [probability, tokens 1..1000000]");
    }
    return [probability, value];
  });
  for (const [index, point] of table.entries()) {
    const before = table[index - 1];
    if (before !== undefined && !(point[0] > before[0] && point[1] >= before[1])) {
      refuse(
        fields.where,
        `${path}[${index}]`,
        "must have a higher probability than the point before, and no fewer tokens",
      );
    }
  }
  if (table[0]?.[0] !== 0 || table.at(-1)?.[0] !== 1) {
    refuse(fields.where, path, "must start at probability 0 and end at 1");
  }
  return table;
}

function parsePhase(fields: Fields, kinds: Readonly<Record<string, LengthTable>>): WorkloadPhase {
  fields.only(["name", "durationS", "rampS", "ratePerS"]);
  const rates = fields.object("ratePerS");
  rates.only(Object.keys(kinds));
  const durationS = fields.number("durationS", 0.001, 1e6);
  return {
    name: fields.text("name"),
    durationMs: durationS * 1000,
    rampMs: fields.has("rampS") ? fields.number("rampS", 0, durationS) * 1000 : 0,
    ratePerS: Object.fromEntries(rates.names().map((kind) => [kind, rates.number(kind, 0, 1e5)])),
  };
}

export interface WorkloadArrivalOptions {
  readonly seed: number;
  /** Multiplies every rate. */
  readonly rateScale: number;
  /** Where in the workload engine time 0 lies. */
  readonly startMs: number;
  /** After the last phase: start again with new draws (the ramp then starts from the last phase), or end. */
  readonly repeat: boolean;
}

/**
 * Requests of a workload in order of arrival, from engine time 0: a Poisson process whose rate follows the
 * phases, by thinning (Lewis and Shedler 1979). The same seed gives the same requests.
 */
export function* workloadArrivals(
  workload: Workload,
  options: WorkloadArrivalOptions,
): Generator<SimRequest> {
  const times = createRandom(options.seed, 0);
  const lengths = createRandom(options.seed, 1);
  // Also the peak inside ramps: there the sum of the rates lies between the sums at the ramp's ends.
  const peakPerS = Math.max(...workload.phases.map((phase) => totalRate(phase.ratePerS)));
  const cycleMs = workload.phases.reduce((sum, phase) => sum + phase.durationMs, 0);
  const meanGapMs = 1000 / (peakPerS * options.rateScale);
  let atMs = 0;
  for (let id = 0; ;) {
    atMs += times.exponential(meanGapMs);
    const positionMs = options.startMs + atMs;
    if (!options.repeat && positionMs >= cycleMs) return;
    const rates = ratesAt(workload, positionMs % cycleMs);
    const kind = pickKind(rates, times.uniform() * peakPerS);
    if (kind === null) continue;
    yield { id, arrivalMs: atMs, ...drawLengths(workload.kinds[kind] ?? [], lengths), kind };
    id += 1;
  }
}

/** Requests per second of each kind at a position within the cycle, before scaling. */
export function ratesAt(workload: Workload, positionMs: number): Readonly<Record<string, number>> {
  let startMs = 0;
  let before = workload.phases.at(-1)?.ratePerS ?? {};
  for (const phase of workload.phases) {
    const intoMs = positionMs - startMs;
    if (intoMs < phase.durationMs) {
      if (intoMs >= phase.rampMs) return phase.ratePerS;
      const weight = intoMs / phase.rampMs;
      return Object.fromEntries(
        Object.keys(workload.kinds).map((kind) => [
          kind,
          (before[kind] ?? 0) * (1 - weight) + (phase.ratePerS[kind] ?? 0) * weight,
        ]),
      );
    }
    startMs += phase.durationMs;
    before = phase.ratePerS;
  }
  return before;
}

/** Lengths of one request: a band by weight, then both lengths at independent quantiles inside it. */
export function drawLengths(
  table: LengthTable,
  random: Random,
): { readonly promptTokens: number; readonly outputTokens: number } {
  const total = table.reduce((sum, band) => sum + band.weight, 0);
  let left = random.uniform() * total;
  const band = table.find((candidate) => (left -= candidate.weight) < 0) ?? table.at(-1);
  return {
    promptTokens: Math.round(valueAtQuantile(band?.promptTokens ?? [], random.uniform())),
    outputTokens: Math.round(valueAtQuantile(band?.outputTokens ?? [], random.uniform())),
  };
}

function pickKind(rates: Readonly<Record<string, number>>, point: number): string | null {
  let left = point;
  for (const [kind, rate] of Object.entries(rates)) {
    left -= rate;
    if (left < 0) return kind;
  }
  return null;
}

function totalRate(rates: Readonly<Record<string, number>>): number {
  return Object.values(rates).reduce((sum, rate) => sum + rate, 0);
}
