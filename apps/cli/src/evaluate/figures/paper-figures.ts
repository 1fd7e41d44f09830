/** The figures of the semi-PD paper that an evaluation makes again, and a load that changes over time. */
import { shareOf } from "@fulcrum/evaluation/recovery.js";
import type { Place, Results } from "@fulcrum/evaluation/results.js";
import { scenarioOf } from "@fulcrum/evaluation/scenarios.js";
import { mean, median } from "@fulcrum/evaluation/statistics.js";
import { BIN_MS, type LaneSummary } from "@fulcrum/evaluation/summary.js";
import type { World } from "@fulcrum/evaluation/world.js";
import { figureSvg, type Chart, type Series } from "./svg.js";

export interface Figure {
  readonly file: string;
  /** What it shows, for the report. */
  readonly caption: string;
  readonly svg: string;
}

/** Only those whose runs were made. */
export function figures(results: Results, world: World): readonly Figure[] {
  return [
    sharesFigure(results, world),
    latencyFigure(results, world),
    attainmentFigure(results, world),
    changingFigure(results, "changing-kinds"),
  ].filter((figure) => figure !== null);
}

/** Share at which the curves are laid over the paper's, whose unit is its own. */
const REFERENCE_PCT = 50;

function sharesFigure(results: Results, world: World): Figure | null {
  const [at] = results.places("shares");
  if (at === undefined) return null;
  const lanes = results.contenders("shares").flatMap((name) => {
    const lane = results.lane(at, name);
    return lane === null ? [] : [{ prefillPct: Number(name), lane }];
  });
  const ttft = lanes.map(({ prefillPct, lane }) => [prefillPct, lane.ttftMs.p90 ?? Number.NaN] as const);
  const tpot = lanes.map(
    ({ prefillPct, lane }) => [100 - prefillPct, lane.tpotMs.p90 ?? Number.NaN] as const,
  );
  const lambda = world.prefillLoadShare("chat", at.fraction);
  const charts = [
    againstPaper("TTFT", "prefill's share of the SMs, %", ttft, (share) => 0.6809 / (share - lambda) + 0.022),
    againstPaper("TPOT", "decode's share of the SMs, %", tpot, (share) => 0.6284 / share + 0.3818),
  ];
  return {
    file: "fig10-latency-vs-share.svg",
    caption: `Fig 10: normalised p90 latency against the share of an exclusive split (chat at half of capacity, so lambda = ${lambda.toFixed(2)}), laid over the paper's fits (TTFT 0.6809/(x - lambda) + 0.022, TPOT 0.6284/y + 0.3818) at a share of 50 %.`,
    svg: figureSvg(charts, 2),
  };
}

function againstPaper(
  title: string,
  xLabel: string,
  measured: readonly (readonly [pct: number, ms: number])[],
  fit: (share: number) => number,
): Chart {
  const sorted = [...measured].sort((a, b) => a[0] - b[0]);
  const reference = sorted.find(([pct]) => pct === REFERENCE_PCT)?.[1] ?? Number.NaN;
  const unit = fit(REFERENCE_PCT / 100) / reference;
  // The fit of TTFT has a pole at lambda; nearer to it than this it is off any chart.
  const paper = sorted.map(([pct]) => [pct, fit(pct / 100)] as const).filter(([, y]) => y > 0);
  return {
    title: `${title}, normalised`,
    xLabel,
    yLabel: "normalised latency",
    series: [
      { name: "simulated", points: sorted.map(([pct, ms]) => [pct, ms * unit]) },
      { name: "paper's fit", points: paper, dashed: true },
    ],
    // Near its pole the paper's TTFT curve says nothing about this load.
    yMax: 2 * Math.max(...sorted.map(([, ms]) => ms * unit)),
  };
}

const LATENCY_SCENARIOS = ["chat-tight", "documents-tight"];

function latencyFigure(results: Results, world: World): Figure | null {
  const charts = LATENCY_SCENARIOS.flatMap((scenario) => {
    const { slo } = scenarioOf(scenario);
    const chart = (title: string, boundMs: number, of: (lane: LaneSummary) => number | null): Chart => ({
      title: `${scenario}: p90 ${title}`,
      xLabel: "requests per second and GPU",
      yLabel: "ms",
      series: rateSeries(results, world, scenario, of),
      yMax: 2.5 * boundMs,
      level: { y: boundMs, name: "SLO" },
    });
    if (rateSeries(results, world, scenario, (lane) => lane.bothOk).length === 0) return [];
    return [
      chart("TTFT", slo.ttft.boundMs, (lane) => lane.ttftMs.p90),
      chart("TPOT", slo.tpot.boundMs, (lane) => lane.tpotMs.p90),
    ];
  });
  if (charts.length === 0) return null;
  return {
    file: "fig12-p90-latency-vs-rate.svg",
    caption: "Fig 12: p90 TTFT and TPOT against the rate, median over the seeds.",
    svg: figureSvg(charts, 2),
  };
}

const ATTAINMENT_SCENARIOS = ["chat-tight", "chat-loose", "documents-tight", "documents-loose"];

function attainmentFigure(results: Results, world: World): Figure | null {
  const charts = ATTAINMENT_SCENARIOS.flatMap((scenario): Chart[] => {
    const series = rateSeries(results, world, scenario, (lane) => lane.bothOk);
    if (series.length === 0) return [];
    const bounds = rateLine(results, world, scenario, (at) => results.bounds(at)?.oracle.bothOk ?? null);
    return [
      {
        title: scenario,
        xLabel: "requests per second and GPU",
        yLabel: "share within both bounds",
        series: [...series, { name: "oracle", points: bounds, dashed: true }],
        yMax: 1.02,
        level: { y: 0.9, name: "90 %" },
      },
    ];
  });
  if (charts.length === 0) return null;
  return {
    file: "fig15-attainment-vs-rate.svg",
    caption: "Fig 15: share of requests within both bounds against the rate, median over the seeds.",
    svg: figureSvg(charts, 2),
  };
}

function rateSeries(
  results: Results,
  world: World,
  scenario: string,
  of: (lane: LaneSummary) => number | null,
): readonly Series[] {
  return results.contenders("grid").flatMap((name): Series[] => {
    const points = rateLine(results, world, scenario, (at) => {
      const lane = results.lane(at, name);
      return lane === null ? null : of(lane);
    });
    return points.length < 2 ? [] : [{ name, points }];
  });
}

/** [requests per second, median over the seeds] for every rate. */
function rateLine(
  results: Results,
  world: World,
  scenario: string,
  of: (at: Place) => number | null,
): [number, number][] {
  return results.fractions("grid", scenario).flatMap((fraction): [number, number][] => {
    const values = results
      .seeds("grid", scenario)
      .flatMap((seed) => of({ section: "grid", scenario, fraction, seed }) ?? []);
    const middle = median(values);
    return middle === null ? [] : [[world.meanPerS(scenarioOf(scenario), fraction), middle]];
  });
}

/** Bins that are shown as one point of attainment over time. */
const SMOOTHED_BINS = 3;

function changingFigure(results: Results, scenario: string): Figure | null {
  const seeds = results.seeds("grid", scenario);
  const places = seeds.map((seed): Place => ({ section: "grid", scenario, fraction: 1, seed }));
  const [first] = places;
  if (first === undefined) return null;
  const shown = ["100/100", "feedback", "search"].filter((name) => results.lane(first, name) !== null);
  const over = (lanes: readonly (LaneSummary | null | undefined)[]) =>
    timeLine(lanes.filter((lane) => lane !== null && lane !== undefined));
  const attainment: Chart = {
    title: `${scenario}: attainment over time`,
    xLabel: "seconds",
    xMin: 0,
    yLabel: "share within both bounds",
    series: [
      ...shown.map((name) => ({ name, points: over(places.map((at) => results.lane(at, name))) })),
      { name: "oracle", points: over(places.map((at) => results.bounds(at)?.oracle)), dashed: true },
    ],
    yMax: 1.02,
  };
  const splits = shown
    .filter((name) => name !== "100/100")
    .map((name) => splitChart(name, results.lane(first, name)));
  return {
    file: `${scenario}-over-time.svg`,
    caption: `Attainment over time under ${scenarioOf(scenario).title} (mean over the seeds, by 30 s of arrival), and the splits that were in force with the first seed.`,
    svg: figureSvg([attainment, ...splits.filter((chart) => chart !== null)], 1),
  };
}

function timeLine(lanes: readonly LaneSummary[]): [number, number][] {
  const bins = lanes[0]?.bins.requests.length ?? 0;
  const points: [number, number][] = [];
  for (let bin = 0; bin + SMOOTHED_BINS <= bins; bin += SMOOTHED_BINS) {
    const shares = lanes.flatMap((lane) => shareOf(lane.bins, bin, bin + SMOOTHED_BINS) ?? []);
    const share = mean(shares);
    if (share !== null) points.push([((bin + SMOOTHED_BINS / 2) * BIN_MS) / 1000, share]);
  }
  return points;
}

function splitChart(name: string, lane: LaneSummary | null): Chart | null {
  if (lane === null) return null;
  const line = (of: (to: LaneSummary["switches"][number]["to"]) => number): [number, number][] => [
    [0, 100],
    ...lane.switches.map(({ atMs, to }): [number, number] => [atMs / 1000, of(to)]),
    [(lane.bins.requests.length * BIN_MS) / 1000, of(lane.switches.at(-1)?.to ?? OPEN)],
  ];
  return {
    title: `${name}: caps in force`,
    xLabel: "seconds",
    yLabel: "% of the SMs",
    series: [
      { name: "prefill cap", points: line((to) => to.prefillSmPct), stepped: true },
      { name: "decode cap", points: line((to) => to.decodeSmPct), stepped: true },
    ],
    yMax: 105,
  };
}

const OPEN = { prefillSmPct: 100, decodeSmPct: 100 };
