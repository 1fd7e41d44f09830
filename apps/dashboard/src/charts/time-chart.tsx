/** A chart over time: uPlot draws, this keeps it the width of its place, in the theme's colours and at the range asked for. */
import { type ReactNode, useEffect, useId, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clockText } from "../ui/format.js";
import { useTheme } from "../ui/theme.js";

export interface Line {
  readonly label: string;
  readonly values: readonly (number | null)[];
  /** A custom property of the stylesheet: `--prefill`. */
  readonly ink: string;
  readonly dash?: readonly number[];
  readonly width?: number;
  /** Fills from there to the line. */
  readonly fillTo?: number;
  readonly stepped?: boolean;
  /** When its numbers mean something else than their place on the axis. */
  readonly format?: (value: number) => string;
}

interface TimeChartProps {
  readonly title: string;
  /** What the picture says, for who does not see it. */
  readonly summary: string;
  /** Epoch ms, ascending. */
  readonly atMs: readonly number[];
  readonly lines: readonly Line[];
  readonly fromMs: number;
  readonly toMs: number;
  readonly format: (value: number) => string;
  readonly max?: number;
  readonly onZoom: (fromMs: number, toMs: number) => void;
  /** Drawn over the plot, in its coordinates: 0..1 of its width. */
  readonly marks?: ReactNode;
}

const HEIGHT = 150;
/** Room for the numbers beside the plot; marks are placed by it. */
export const AXIS_PX = 58;
export const RIGHT_PX = 12;

export function TimeChart(props: TimeChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const zoom = useRef(props.onZoom);
  zoom.current = props.onZoom;
  const label = useId();
  const { shown } = useTheme();
  const { lines, atMs, fromMs, toMs } = props;
  const look = JSON.stringify([
    shown,
    props.max ?? null,
    lines.map(({ values: _values, format: _format, ...style }) => style),
  ]);

  useEffect(() => {
    const element = place.current;
    if (!element) return undefined;
    const plot = new uPlot(
      optionsOf(props, element.clientWidth, (from, to) => zoom.current(from, to)),
      [[]],
      element,
    );
    chart.current = plot;
    const watch = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: HEIGHT }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      plot.destroy();
      chart.current = null;
    };
    // oxlint-disable-next-line react-hooks/exhaustive-deps -- made anew only when it looks different
  }, [look]);

  useEffect(() => {
    const plot = chart.current;
    if (!plot) return;
    const data = [atMs.map((at) => at / 1_000), ...lines.map(({ values }) => [...values])];
    plot.batch(() => {
      plot.setData(data as uPlot.AlignedData, false);
      plot.setScale("x", { min: fromMs / 1_000, max: toMs / 1_000 });
    });
  }, [atMs, lines, fromMs, toMs, look]);

  return (
    <figure className="chart" aria-labelledby={label}>
      <figcaption id={label}>
        <b>{props.title}</b> <span className="quiet">{props.summary}</span>
      </figcaption>
      <div className="plot">
        <div ref={place} aria-hidden="true" />
        {props.marks}
      </div>
    </figure>
  );
}

function optionsOf(
  { lines, format, max, title }: TimeChartProps,
  width: number,
  onZoom: (fromMs: number, toMs: number) => void,
): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const ink = (name: string) => style.getPropertyValue(name).trim();
  const axis = { stroke: ink("--quiet"), grid: { stroke: ink("--rule"), width: 1 }, ticks: { show: false } };
  const font = "11px system-ui, sans-serif";
  return {
    width,
    height: HEIGHT,
    padding: [8, RIGHT_PX, 0, 0],
    cursor: {
      sync: { key: "fulcrum" },
      drag: { x: true, y: false, setScale: false },
      points: { size: 5 },
    },
    legend: { live: true, markers: { width: 2 } },
    scales: { x: { time: true }, y: { range: (_, low, high) => rangeOf(low, high, max) } },
    axes: [
      { ...axis, font, size: 26, space: 70, values: (_, ticks) => timesOf(ticks) },
      { ...axis, font, size: AXIS_PX, space: 28, values: (_, ticks) => ticks.map(format) },
    ],
    series: [
      {
        label: "at",
        value: (_, second: number | null) => (second === null ? "–" : clockText(second * 1_000)),
      },
      ...lines.map((line) => seriesOf(line, ink, format)),
    ],
    hooks: {
      setSelect: [
        (plot) => {
          const { left, width: wide } = plot.select;
          if (wide < 6) return;
          onZoom(plot.posToVal(left, "x") * 1_000, plot.posToVal(left + wide, "x") * 1_000);
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
    },
    title: undefined,
    id: `chart-${title.replaceAll(/\W+/g, "-").toLowerCase()}`,
  };
}

function seriesOf(
  line: Line,
  ink: (name: string) => string,
  format: (value: number) => string,
): uPlot.Series {
  const stroke = ink(line.ink);
  const { fillTo } = line;
  return {
    label: line.label,
    stroke,
    width: line.width ?? 1.5,
    ...(line.dash ? { dash: [...line.dash] } : {}),
    ...(fillTo === undefined
      ? {}
      : { fill: `color-mix(in srgb, ${stroke} 30%, transparent)`, fillTo: () => fillTo }),
    ...(line.stepped ? { paths: uPlot.paths.stepped!({ align: 1 }) } : {}),
    points: { show: false },
    spanGaps: false,
    value: (_, value: number | null) => (value === null ? "–" : (line.format ?? format)(value)),
  };
}

/** Seconds are told only where ticks lie closer than a minute. */
function timesOf(ticks: readonly number[]): string[] {
  const isFine = ticks.length > 1 && ticks[1]! - ticks[0]! < 60;
  return ticks.map((second) => clockText(second * 1_000).slice(0, isFine ? 8 : 5));
}

/** From zero, with a little air; a maximum that is given stands. */
function rangeOf(_low: number | null, high: number | null, max: number | undefined): [number, number] {
  return [0, max ?? ((high ?? 0) > 0 ? (high ?? 1) * 1.08 : 1)];
}
