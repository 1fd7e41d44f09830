import type { Series } from "@fulcrum/contracts/live.js";
import { useMemo } from "react";
import { type Line, TimeChart } from "../charts/time-chart.js";
import { msText, pctText, percentileText, rateText, shareText } from "../ui/format.js";
import { MarkStrip } from "./mark-strip.js";
import {
  askedAt,
  boundsAt,
  type Columns,
  columnsOf,
  lastOf,
  predictedAt,
  shareAbove,
} from "./series-view.js";
import type { Range } from "./use-series.js";

/** A prediction is drawn beside what came for this long, as a trial lasts at most. */
const PREDICTION_MS = 300_000;

interface ChartsProps {
  readonly series: Series;
  readonly range: Range;
  readonly onZoom: (fromMs: number, toMs: number) => void;
}

export function InstanceCharts({ series, range, onZoom }: ChartsProps) {
  const columns = useMemo(() => columnsOf(series), [series]);
  const shared = { atMs: columns.atMs, fromMs: range.fromMs, toMs: range.toMs, onZoom };
  const latency = (phase: "ttft" | "tpot") => latencyChart(series, columns, phase);
  const ttft = useMemo(() => latency("ttft"), [series]);
  const tpot = useMemo(() => latency("tpot"), [series]);
  const split = useMemo(() => splitLines(series, columns), [series]);
  const load = useMemo(() => loadLines(columns), [series]);
  const kv = useMemo(() => kvLines(columns), [series]);
  const marks = <MarkStrip marks={series.marks} fromMs={range.fromMs} toMs={range.toMs} />;
  return (
    <div className="charts">
      <TimeChart {...shared} title="TTFT" summary={ttft.summary} lines={ttft.lines} format={msText} />
      <TimeChart {...shared} title="TPOT" summary={tpot.summary} lines={tpot.lines} format={msText} />
      <TimeChart
        {...shared}
        title="Split of the SMs"
        summary={`prefill from below, decode from above; now ${pctText(lastOf(columns.of("prefillSmPct")))} and ${pctText(lastOf(columns.of("decodeSmPct")))}`}
        lines={split}
        format={pctText}
        max={100}
        marks={marks}
      />
      <TimeChart
        {...shared}
        title="Load"
        summary={`${rateText(lastOf(columns.of("arrivalPerS")))} requests, ${lastOf(columns.of("prefillWaiting")) ?? "–"} wait for prefill, ${lastOf(columns.of("decodeRunning")) ?? "–"} decode`}
        lines={load}
        format={(value) => rateText(value).replace("/s", "")}
      />
      <TimeChart
        {...shared}
        title="KV cache"
        summary={`${shareText(lastOf(columns.of("kvUsedShare")))} used, quota ${pctText(lastOf(columns.of("kvQuotaPct")))}`}
        lines={kv}
        format={pctText}
        max={100}
      />
    </div>
  );
}

function latencyChart(
  { slo, slos, predicted }: Series,
  columns: Columns,
  phase: "ttft" | "tpot",
): { lines: Line[]; summary: string } {
  const { percentile, boundMs } = slo[phase];
  const name = percentileText(percentile);
  const values = columns.of(phase === "ttft" ? "ttftMs" : "tpotMs");
  const median = columns.of(phase === "ttft" ? "ttftP50Ms" : "tpotP50Ms");
  const forecast = predictedAt(
    predicted,
    columns.atMs,
    phase === "ttft" ? "ttftMs" : "tpotMs",
    PREDICTION_MS,
  );
  const bounds = boundsAt(slos, columns.atMs, phase);
  const above = shareAbove(values, bounds);
  const whose = new Set(bounds).size > 1 ? ", by the bounds of each time" : "";
  const over =
    above === null
      ? "nothing measured"
      : above === 0
        ? "never over it"
        : `over it ${shareText(above)} of the time${whose}`;
  return {
    summary: `${name} now ${msText(lastOf(values))}, bound ${msText(boundMs)}, ${over}`,
    lines: [
      { label: name, values, ink: phase === "ttft" ? "--prefill" : "--decode", width: 2 },
      { label: "median", values: median, ink: "--quiet", width: 1 },
      { label: "SLO", values: bounds, ink: "--bad", width: 1, dash: [5, 4], stepped: true },
      { label: "predicted", values: forecast, ink: "--predicted", width: 1.5, dash: [2, 3], stepped: true },
    ],
  };
}

function splitLines({ asked }: Series, columns: Columns): Line[] {
  const decode = columns.of("decodeSmPct").map((pct) => (pct === null ? null : 100 - pct));
  return [
    { label: "prefill", values: columns.of("prefillSmPct"), ink: "--prefill", fillTo: 0, stepped: true },
    {
      label: "decode",
      values: decode,
      ink: "--decode",
      fillTo: 100,
      stepped: true,
      format: (value) => pctText(100 - value),
    },
    {
      label: "prefill asked",
      values: askedAt(asked, columns.atMs, ({ split }) => split.prefillSmPct),
      ink: "--ink",
      dash: [3, 3],
      width: 1,
      stepped: true,
    },
  ];
}

function loadLines(columns: Columns): Line[] {
  return [
    { label: "requests/s", values: columns.of("arrivalPerS"), ink: "--ink", width: 1.5 },
    { label: "wait for prefill", values: columns.of("prefillWaiting"), ink: "--prefill", width: 1 },
    { label: "decode", values: columns.of("decodeRunning"), ink: "--decode", width: 1 },
  ];
}

function kvLines(columns: Columns): Line[] {
  const used = columns.of("kvUsedShare").map((share) => (share === null ? null : share * 100));
  return [
    { label: "used", values: used, ink: "--kv", fillTo: 0 },
    { label: "quota", values: columns.of("kvQuotaPct"), ink: "--ink", dash: [5, 4], width: 1, stepped: true },
  ];
}
