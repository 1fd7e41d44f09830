import { mean, median } from "@fulcrum/evaluation/statistics.js";
import type { RequestOutcome } from "@fulcrum/evaluation/outcome.js";
import { runServing } from "@fulcrum/evaluation/run-serving.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { createRandom } from "@fulcrum/simulator/random.js";
import { UnifiedEngine } from "@fulcrum/simulator/unified.js";
import { signed, type Comparison } from "./comparison.js";
import { QUEUEING, SLOS, type QueueingPoint } from "./references.js";
import type { CheckInputs, Effort, FigureTable, Section } from "./section.js";
import { means, type Latencies } from "./serve.js";

const { alpha, beta, gamma } = QUEUEING;

/** A unified engine with the step times of the 3-parameter model, against benchmark points and the model itself. */
export function checkQueueing(inputs: CheckInputs, effort: Effort): Section {
  const { points, about } = inputs.queueing;
  const simulated = points.map((point) => ({ point, ...benchmark(point, effort) }));
  const comparisons = simulated.flatMap(({ point, ttftMs, tpotMs }): Comparison[] => {
    const at = `${point.ratePerS} requests/s, ${point.inputTokens} in, ${point.outputTokens} out`;
    const both = { unit: "ms", source: QUEUEING.source, standing: "fitted" } as const;
    return [
      { ...both, what: `TTFT at ${at}`, reference: point.ttftMs, simulated: plus(ttftMs, tpotMs) },
      { ...both, what: `ITL at ${at}`, reference: point.itlMs, simulated: tpotMs },
    ];
  });
  const grid = analyticGrid(effort);
  return {
    title: "A unified engine against a benchmark",
    how: [
      about,
      `One H100 as the 3-parameter model has it: an iteration takes ${alpha} ms + ${beta} ms per token + ${gamma} ms per token of context. Chunked prefill, 8,192 tokens an iteration, ${QUEUEING.kvTokens} tokens of KV. As in the benchmark (GuideLLM sweep), arrivals are evenly spaced, lengths spread evenly over half to one and a half of their mean, and a point runs ${effort.benchmarkS} s or ${MOST_REQUESTS} requests; the first, synchronous point of each sweep is simulated as evenly spaced too.`,
      "Fitted: the source fitted the three parameters to these points through its own queueing model. What is checked here is the scheduling around them.",
      "TTFT is the end of the prefill plus one iteration: with the end of the prefill alone the source's own model is 35 to 38 % off, because a client sees the first token when the next iteration hands it out.",
    ],
    comparisons: points.length > LISTED ? [] : comparisons,
    tables: [errorTable(simulated), grid.table],
    findings: [...grid.findings],
  };
}

/** More points are summed up, not listed. */
const LISTED = 16;

/** At the highest rates the batch is full and steady after a tenth of these. */
const MOST_REQUESTS = 4_000;

interface Benchmarked extends Latencies {
  readonly point: QueueingPoint;
}

function benchmark(point: QueueingPoint, effort: Effort): Latencies {
  const { ratePerS, inputTokens, outputTokens } = point;
  const random = createRandom(1, 0);
  const spread = (about: number) => Math.max(1, Math.round(about * (0.5 + random.uniform())));
  const count = Math.min(MOST_REQUESTS, Math.ceil(ratePerS * effort.benchmarkS));
  const requests = Array.from({ length: count }, (_, id) => ({
    id,
    arrivalMs: (1000 * id) / ratePerS,
    promptTokens: spread(inputTokens),
    outputTokens: spread(outputTokens),
  }));
  // Only requests that finish in time count, as in the benchmark; the instance stays full to the end.
  const lastMs = requests.at(-1)?.arrivalMs ?? 0;
  const drainMs = count < MOST_REQUESTS ? Math.max(1000, effort.benchmarkS * 1000 - lastMs) : 1000;
  return means(
    serve(requests, drainMs, H100_3_PARAMETERS).filter((outcome) => outcome.finishedAtMs !== null),
  );
}

function serve(
  requests: readonly SimRequest[],
  drainMs: number,
  profile: Profile,
): readonly RequestOutcome[] {
  const serving = new UnifiedEngine({
    profile,
    // Weights are read once: alpha is counted once in an iteration, as in the model.
    scheduling: { kind: "chunked", budgetTokens: profile.maxBatchedTokens, weightsReadOnce: true },
  });
  return runServing({ serving, requests, slo: SLOS.sharegptLoose, drainMs })?.outcomes ?? [];
}

const flat = { small: { size: 1, a: 0.5, b: 0.5 }, large: { size: 2, a: 0.5, b: 0.5 } };

/** The model's iteration as a profile: alpha + (beta + gamma) per prompt token, beta per sequence, gamma per context token. */
const H100_3_PARAMETERS: Profile = {
  name: "llama3.1-8b-h100-3-parameters",
  sources: QUEUEING.source,
  smCount: 132,
  smPerTpc: 2,
  prefill: { kernelMs: [alpha, beta + gamma, 0], engineMs: 0, smShare: flat },
  decode: { kernelMs: [alpha, beta, gamma], engineMs: 0, smShare: flat },
  contention: { decodeByPrefill: 0, prefillByDecode: 0, overlapToPrefill: 0.5 },
  kvTotalTokens: QUEUEING.kvTokens,
  kvBlockTokens: 16,
  // Above any batch of these points, so that only KV binds.
  maxBatch: 1024,
  maxBatchedTokens: 8192,
};

/** The closed form knows no limits. */
const WITHOUT_LIMITS: Profile = {
  ...H100_3_PARAMETERS,
  kvTotalTokens: 16_000_000,
  maxBatch: 10_000,
  maxBatchedTokens: 1_000_000,
};

/** The closed form: T = alpha / (1 - rho), rho = rate * (out + 1) * slope; TTFT without the extra iteration. */
export function analyticLatencies(
  ratePerS: number,
  inputTokens: number,
  outputTokens: number,
): { readonly ttftMs: number; readonly itlMs: number } {
  const rho = (ratePerS / 1000) * (outputTokens + 1) * slopeMs(inputTokens, outputTokens);
  const iterationMs = alpha / (1 - rho);
  return {
    ttftMs: iterationMs + (beta + gamma) * inputTokens,
    itlMs: iterationMs + beta + gamma * (inputTokens + outputTokens / 2),
  };
}

/** What one request in the batch adds to an iteration, on average over its life. */
function slopeMs(inputTokens: number, outputTokens: number): number {
  return (
    (beta * (inputTokens + outputTokens)) / (outputTokens + 1) + gamma * (inputTokens + outputTokens / 2)
  );
}

const INPUTS = [64, 256, 1024, 4096];
const OUTPUTS = [64, 256, 1024];
const RHOS = [0.3, 0.6, 0.8];
/** Lifetimes of a request that a grid point runs; the first half, in which the batch fills, is not counted. */
const LIFETIMES = 12;

/** Poisson arrivals and fixed lengths, simulated and in closed form. */
function analyticGrid(effort: Effort): { readonly table: FigureTable; readonly findings: string[] } {
  const outputs = effort.studyRequests > 0 ? OUTPUTS : OUTPUTS.slice(0, 2);
  const cells = RHOS.flatMap((rho) =>
    INPUTS.flatMap((input) => outputs.map((output) => ({ rho, ...gridErrors(rho, input, output) }))),
  );
  const rows = RHOS.map((rho) => {
    const at = cells.filter((cell) => cell.rho === rho);
    return [
      String(rho),
      ...errorCells(at.map((cell) => cell.itl)),
      ...errorCells(at.map((cell) => cell.ttft)),
    ];
  });
  const worstItl = Math.max(...cells.map((cell) => Math.abs(cell.itl)));
  const ttft = median(cells.map((cell) => cell.ttft)) ?? Number.NaN;
  return {
    table: {
      caption: `Simulation over closed form, error in percent, ${INPUTS.length * outputs.length} pairs of lengths at each rho`,
      columns: ["rho", "ITL median", "ITL range", "TTFT median", "TTFT range"],
      rows,
    },
    findings: [
      `Against the model's closed form the simulated ITL is at most ${worstItl.toFixed(1)} % off anywhere on the grid. The closed form has no wait for the iteration that runs when a request arrives; the simulator has one, and its TTFT is ${signed(ttft)} % off in the median.`,
    ],
  };
}

function gridErrors(
  rho: number,
  input: number,
  output: number,
): { readonly ttft: number; readonly itl: number } {
  const ratePerS = (1000 * rho) / ((output + 1) * slopeMs(input, output));
  const want = analyticLatencies(ratePerS, input, output);
  const lifetimeMs = want.itlMs * output;
  const count = Math.max(300, Math.ceil((LIFETIMES * ratePerS * lifetimeMs) / 1000));
  const random = createRandom(1, 0);
  let arrivalMs = 0;
  const requests = Array.from({ length: count }, (_, id) => {
    arrivalMs += random.exponential(1000 / ratePerS);
    return { id, arrivalMs, promptTokens: input, outputTokens: output };
  });
  const settled = serve(requests, 10 * lifetimeMs + 1000, WITHOUT_LIMITS).slice(Math.floor(count / 2));
  const got = means(settled);
  return {
    ttft: 100 * ((got.ttftMs ?? Number.NaN) / want.ttftMs - 1),
    itl: 100 * ((got.tpotMs ?? Number.NaN) / want.itlMs - 1),
  };
}

function errorCells(errors: readonly number[]): string[] {
  return [
    signed(median(errors) ?? Number.NaN),
    `${signed(Math.min(...errors))} .. ${signed(Math.max(...errors))}`,
  ];
}

/** Mean and median absolute error of simulator and closed form against the measurements. */
function errorTable(simulated: readonly Benchmarked[]): FigureTable {
  const closed = simulated.map(({ point }) => {
    const model = analyticLatencies(point.ratePerS, point.inputTokens, point.outputTokens);
    return { point, ttftMs: model.ttftMs, tpotMs: model.itlMs };
  });
  const rows: readonly (readonly [string, readonly Benchmarked[], (each: Benchmarked) => number[]])[] = [
    ["simulator, TTFT with one iteration more", simulated, (each) => [ttftError(each, true)]],
    ["simulator, TTFT at the end of the prefill", simulated, (each) => [ttftError(each, false)]],
    ["simulator, ITL", simulated, (each) => [itlError(each)]],
    ["closed form, TTFT with one iteration more", closed, (each) => [ttftError(each, true)]],
    ["closed form, ITL", closed, (each) => [itlError(each)]],
  ];
  return {
    caption: `Errors against ${simulated.length} measured points, percent (the source's model against all ${QUEUEING.allPoints}: TTFT ${QUEUEING.modelMapePct.ttft}, ITL ${QUEUEING.modelMapePct.itl})`,
    columns: ["what", "mean absolute", "median", "worst"],
    rows: rows.map(([name, each, errorsOf]) => {
      const errors = each.flatMap(errorsOf);
      const worst = errors.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
      return [
        name,
        (mean(errors.map(Math.abs)) ?? Number.NaN).toFixed(1),
        signed(median(errors) ?? Number.NaN),
        signed(worst),
      ];
    }),
  };
}

function ttftError({ point, ttftMs, tpotMs }: Benchmarked, withIteration: boolean): number {
  const ms = withIteration ? plus(ttftMs, tpotMs) : ttftMs;
  return 100 * ((ms ?? Number.NaN) / point.ttftMs - 1);
}

function itlError({ point, tpotMs }: Benchmarked): number {
  return 100 * ((tpotMs ?? Number.NaN) / point.itlMs - 1);
}

function plus(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : a + b;
}
