/** Line charts as SVG text: axes, ticks, lines, a legend. Readable on light and on dark ground. */

export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Keeps its value until the next point. */
  readonly stepped?: boolean;
  /** For what is no contender: bounds, and curves of a paper. */
  readonly dashed?: boolean;
}

export interface Chart {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
  /** Values beyond are cut off at the frame. Default: what the points need, from 0. */
  readonly yMax?: number;
  readonly yMin?: number;
  /** Default: the least x of the points. */
  readonly xMin?: number;
  /** A level to read against, such as a bound. */
  readonly level?: { readonly y: number; readonly name: string };
}

const WIDTH = 460;
const HEIGHT = 300;
const LEFT = 58;
const RIGHT = 12;
const TOP = 30;
const BOTTOM = 44;
const LEGEND_ROW = 18;

/** Told apart without colour vision too (Okabe and Ito 2008), each with enough contrast on white and on black. */
const COLOURS = [
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#b8860b",
  "#56b4e9",
  "#7f7f7f",
  "#a0522d",
  "#8b6fd0",
  "#6b8e23",
];

const STYLE = `
  text { font: 12px sans-serif; fill: #333 } .title { font-weight: bold; font-size: 13px }
  .frame { fill: none; stroke: #999 } .grid { stroke: #ccc; stroke-width: .5 } .level { stroke: #888; stroke-dasharray: 2 3 }
  .line { fill: none; stroke-width: 2 } .dashed { stroke-dasharray: 6 4 }
  @media (prefers-color-scheme: dark) { text { fill: #ddd } .grid { stroke: #444 } .frame { stroke: #777 } }`;

/** Charts beside and below each other under one legend; names have one colour throughout. */
export function figureSvg(charts: readonly Chart[], columns: number): string {
  const names = [...new Set(charts.flatMap((chart) => chart.series.map((series) => series.name)))];
  const colourOf = (name: string) => COLOURS[names.indexOf(name) % COLOURS.length] ?? "#000";
  const wide = Math.min(columns, charts.length) * WIDTH;
  const rows = Math.ceil(charts.length / columns);
  const legend = legendSvg(charts, names, colourOf, wide, rows * HEIGHT + 8);
  const body = charts.map((chart, i) => {
    const [x, y] = [(i % columns) * WIDTH, Math.floor(i / columns) * HEIGHT];
    return `<g transform="translate(${x} ${y})">\n${chartSvg(chart, colourOf, i)}\n</g>`;
  });
  const tall = rows * HEIGHT + legend.height + 12;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${wide} ${tall}" width="${wide}" height="${tall}" role="img">`,
    `<title>${escaped(charts.map((chart) => chart.title).join("; "))}</title>`,
    `<style>${STYLE}\n</style>`,
    ...body,
    legend.svg,
    "</svg>\n",
  ].join("\n");
}

function chartSvg(chart: Chart, colourOf: (name: string) => string, index: number): string {
  const all = chart.series.flatMap((series) => series.points);
  const xs = all.map(([x]) => x);
  const [xLow, xHigh] = [chart.xMin ?? Math.min(...xs), Math.max(...xs)];
  const yLow = chart.yMin ?? 0;
  const yHigh = chart.yMax ?? Math.max(...all.map(([, y]) => y), chart.level?.y ?? 0) * 1.05;
  const x = scale(xLow, xHigh, LEFT, WIDTH - RIGHT);
  const y = scale(yLow, yHigh, HEIGHT - BOTTOM, TOP);
  const clip = `frame${index}`;
  const frame = `x="${LEFT}" y="${TOP}" width="${WIDTH - LEFT - RIGHT}" height="${HEIGHT - TOP - BOTTOM}"`;
  const lines = chart.series.map((series) => {
    const kind = series.dashed === true ? "line dashed" : "line";
    return `<path class="${kind}" stroke="${colourOf(series.name)}" d="${path(series, x, y, xHigh)}"/>`;
  });
  return [
    `<text class="title" x="${LEFT}" y="18">${escaped(chart.title)}</text>`,
    ...ticks(xLow, xHigh).map(
      (at) => `<text x="${px(x(at))}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${label(at)}</text>`,
    ),
    ...ticks(yLow, yHigh).map(
      (at) =>
        `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${px(y(at))}" y2="${px(y(at))}"/>` +
        `<text x="${LEFT - 6}" y="${px(y(at) + 4)}" text-anchor="end">${label(at)}</text>`,
    ),
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 8}" text-anchor="middle">${escaped(chart.xLabel)}</text>`,
    `<text transform="translate(14 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${escaped(chart.yLabel)}</text>`,
    `<clipPath id="${clip}"><rect ${frame}/></clipPath>`,
    `<rect class="frame" ${frame}/>`,
    ...levelSvg(chart.level, y),
    `<g clip-path="url(#${clip})">`,
    ...lines,
    "</g>",
  ].join("\n");
}

function levelSvg(level: Chart["level"], y: (value: number) => number): string[] {
  if (level === undefined) return [];
  const at = px(y(level.y));
  return [
    `<line class="level" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}"/>`,
    `<text x="${LEFT + 5}" y="${px(y(level.y) + 14)}">${escaped(level.name)}</text>`,
  ];
}

function path(series: Series, x: (v: number) => number, y: (v: number) => number, xHigh: number): string {
  const parts: string[] = [];
  for (const [i, [px1, py1]] of series.points.entries()) {
    if (i === 0) parts.push(`M${px(x(px1))} ${px(y(py1))}`);
    else if (series.stepped === true) parts.push(`H${px(x(px1))}V${px(y(py1))}`);
    else parts.push(`L${px(x(px1))} ${px(y(py1))}`);
  }
  if (series.stepped === true && parts.length > 0) parts.push(`H${px(x(xHigh))}`);
  return parts.join("");
}

function legendSvg(
  charts: readonly Chart[],
  names: readonly string[],
  colourOf: (name: string) => string,
  wide: number,
  top: number,
): { readonly svg: string; readonly height: number } {
  const dashed = new Set(
    charts.flatMap((chart) => chart.series.filter((s) => s.dashed === true).map((s) => s.name)),
  );
  let x = LEFT;
  let row = 0;
  const items = names.map((name) => {
    const width = 44 + name.length * 7;
    if (x + width > wide && x > LEFT) {
      x = LEFT;
      row += 1;
    }
    const y = top + row * LEGEND_ROW;
    const kind = dashed.has(name) ? "line dashed" : "line";
    const item =
      `<path class="${kind}" stroke="${colourOf(name)}" d="M${x} ${y}h22"/>` +
      `<text x="${x + 28}" y="${y + 4}">${escaped(name)}</text>`;
    x += width;
    return item;
  });
  return { svg: items.join("\n"), height: (row + 1) * LEGEND_ROW };
}

function scale(low: number, high: number, from: number, to: number): (value: number) => number {
  const span = spanOf(low, high);
  return (value) => from + ((value - low) / span) * (to - from);
}

/** Four to eight round values inside the range. */
function ticks(low: number, high: number): number[] {
  const span = spanOf(low, high);
  const power = 10 ** Math.floor(Math.log10(span / 4));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => span / each <= 8) ?? span;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
}

/** Of a line on which nothing moves: 1, so that it can be drawn at all. */
function spanOf(low: number, high: number): number {
  return high - low > 1e-9 ? high - low : 1;
}

function label(value: number): string {
  return String(Number(value.toPrecision(6)));
}

function px(value: number): string {
  return value.toFixed(1);
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
