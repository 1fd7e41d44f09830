import type { Split } from "@fulcrum/core/nouns.js";
import { sampleOf } from "@fulcrum/evaluation/lengths.js";
import { mean } from "@fulcrum/evaluation/statistics.js";
import { prefillStepMs } from "@fulcrum/simulator/step-time.js";
import type { Comparison } from "./comparison.js";
import { FIG10, SLOS } from "./references.js";
import type { CheckInputs, Effort, Section } from "./section.js";
import { means, poissonLoad, serveSplit } from "./serve.js";

/**
 * Shares in percent at which the paper's curves are looked at. TTFT's begins above lambda and leaves decode 20, with
 * less of which decode falls behind for good and its KV blocks prefill.
 */
const TTFT_SHARES = [40, 50, 60, 70, 80];
const TPOT_SHARES = [20, 30, 40, 50, 60, 70, 80];

/** TTFT against prefill's share and TPOT against decode's, under load, against Fig 10. */
export function checkShareCurves(inputs: CheckInputs, effort: Effort): Section {
  const prefillMs = sampleOf(inputs.sharegpt.source).map(({ promptTokens }) =>
    prefillStepMs(inputs.profile, { tokens: promptTokens, sumSq: promptTokens ** 2 }, 1, false),
  );
  const l100Ms = mean(prefillMs) ?? Number.NaN;
  const ratePerS = (1000 * FIG10.lambda) / l100Ms;
  const load = poissonLoad(inputs.sharegpt.source, effort.requests, 1);
  const at = (split: Split) =>
    means(serveSplit(inputs.profile, split, load.at(ratePerS), SLOS.sharegptTight));
  const ttft = TTFT_SHARES.map((x) => ({
    share: x / 100,
    ms: at({ prefillSmPct: x, decodeSmPct: 100 - x }).ttftMs ?? Number.NaN,
  }));
  const tpot = TPOT_SHARES.map((y) => ({
    share: y / 100,
    ms: at({ prefillSmPct: 100 - y, decodeSmPct: y }).tpotMs ?? Number.NaN,
  }));
  const comparisons = [
    ...curveComparisons("TTFT", ttft, (share) => FIG10.ttft(share, FIG10.lambda)),
    ...curveComparisons("TPOT", tpot, FIG10.tpot),
  ];
  const forms = [ttftForm(ttft), { name: "TPOT a/y + b", ...line(tpot, (share) => 1 / share) }];
  return {
    title: "Latency against share",
    how: [
      `Mean TTFT and TPOT on splits that sum to 100, Poisson ShareGPT at ${ratePerS.toFixed(1)} requests/s: the rate that makes lambda = rate x (mean prefill at all SMs, ${l100Ms.toFixed(1)} ms) equal 0.30, at which the paper's TTFT curve is 1 at a share of 1. The paper states neither rate nor lambda nor the other phase's cap.`,
      "Each curve is scaled by one factor (the geometric mean of the ratios): what is compared is the shape.",
    ],
    comparisons,
    tables: [
      {
        caption: "The paper's forms fitted to the simulated points (milliseconds; shares 0..1)",
        columns: ["form", "a", "b", "lambda", "R2"],
        rows: forms.map(({ name, a, b, lambda, r2 }) => [
          name,
          a.toPrecision(3),
          b.toPrecision(3),
          lambda === undefined ? "" : lambda.toFixed(2),
          r2.toFixed(3),
        ]),
      },
    ],
    findings: [steepness("TTFT", comparisons), steepness("TPOT", comparisons)],
  };
}

interface Point {
  readonly share: number;
  readonly ms: number;
}

function curveComparisons(
  name: string,
  points: readonly Point[],
  curve: (share: number) => number,
): Comparison[] {
  const logs = points.map(({ share, ms }) => Math.log(ms / curve(share)));
  const scale = Math.exp(mean(logs) ?? 0);
  return points.map(({ share, ms }) => ({
    what: `${name} at ${(100 * share).toFixed(0)} %`,
    unit: "ratio",
    reference: curve(share),
    source: FIG10.source,
    simulated: ms / scale,
    standing: "predicted",
  }));
}

/** How much the curve falls from its lowest to its highest share, beside the paper's. */
function steepness(name: string, comparisons: readonly Comparison[]): string {
  const curve = comparisons.filter(({ what }) => what.startsWith(name));
  const [first, last] = [curve[0], curve.at(-1)];
  const simulated = (first?.simulated ?? Number.NaN) / (last?.simulated ?? Number.NaN);
  const reference = (first?.reference ?? Number.NaN) / (last?.reference ?? Number.NaN);
  const how =
    simulated < 0.9 * reference
      ? "flatter than"
      : simulated > 1.1 * reference
        ? "steeper than"
        : "as steep as";
  return `${name} from ${first?.what.slice(8)} to ${last?.what.slice(8)} falls by a factor of ${simulated.toFixed(2)}, in the paper by ${reference.toFixed(2)}: the simulated curve is ${how} the paper's.`;
}

interface Form {
  readonly name: string;
  readonly a: number;
  readonly b: number;
  readonly lambda?: number;
  readonly r2: number;
}

/** a/(x - lambda) + b with the lambda below the lowest share that fits best, to 0.01. */
function ttftForm(points: readonly Point[]): Form {
  const lowest = Math.min(...points.map((point) => point.share));
  const tried = Array.from({ length: Math.floor(lowest * 100) - 1 }, (_, i) => i / 100).map((lambda) => ({
    name: "TTFT a/(x - lambda) + b",
    lambda,
    ...line(points, (share) => 1 / (share - lambda)),
  }));
  return tried.reduce((best, form) => (form.r2 > best.r2 ? form : best));
}

/** Least squares of ms = a * feature(share) + b. */
function line(
  points: readonly Point[],
  feature: (share: number) => number,
): { readonly a: number; readonly b: number; readonly r2: number } {
  const xs = points.map(({ share }) => feature(share));
  const ys = points.map(({ ms }) => ms);
  const [meanX, meanY] = [mean(xs) ?? 0, mean(ys) ?? 0];
  const covariance = xs.reduce((sum, x, i) => sum + (x - meanX) * ((ys[i] ?? 0) - meanY), 0);
  const spreadX = xs.reduce((sum, x) => sum + (x - meanX) ** 2, 0);
  const spreadY = ys.reduce((sum, y) => sum + (y - meanY) ** 2, 0);
  const a = covariance / spreadX;
  return { a, b: meanY - a * meanX, r2: covariance ** 2 / (spreadX * spreadY) };
}
