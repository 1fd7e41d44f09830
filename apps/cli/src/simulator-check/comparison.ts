/** Whether a figure helped to choose the profile's numbers, so that agreement with it proves nothing. */
export type Standing = "fitted" | "predicted";

/** One figure of the simulator beside the measured or published one. */
export interface Comparison {
  readonly what: string;
  /** "share": 0..1, judged by the difference in points; the others by the relative error. */
  readonly unit: "ms" | "share" | "ratio";
  readonly reference: number;
  readonly source: string;
  /** Null: no request got so far. */
  readonly simulated: number | null;
  readonly standing: Standing;
  readonly note?: string;
}

export type Nearness = "close" | "rough" | "off";

/** Relative error in percent, above 0 where the simulator is higher; null without a figure. */
export function errorPct({ simulated, reference }: Comparison): number | null {
  return simulated === null ? null : 100 * (simulated / reference - 1);
}

/**
 * close: within 10 % (attainment: 5 points); rough: within 30 % (15 points); else off. Figures read off the paper's
 * plots carry a few percent of their own.
 */
export function nearness(comparison: Comparison): Nearness {
  const { unit, simulated, reference } = comparison;
  if (simulated === null) return "off";
  const [distance, close, rough] =
    unit === "share"
      ? [100 * Math.abs(simulated - reference), 5, 15]
      : [Math.abs(errorPct(comparison) ?? Infinity), 10, 30];
  if (distance <= close) return "close";
  return distance <= rough ? "rough" : "off";
}

/** The value as a table shows it. */
export function valueText(unit: Comparison["unit"], value: number | null): string {
  if (value === null) return "none";
  if (unit === "ms") return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toPrecision(3)} ms`;
  return value.toFixed(unit === "share" ? 2 : 3);
}

/** How far off, as a table shows it: percent, and points for attainment. */
export function errorText(comparison: Comparison): string {
  const error = errorPct(comparison);
  if (error === null || comparison.simulated === null) return "-";
  const percent = `${signed(error)} %`;
  if (comparison.unit !== "share") return percent;
  return `${percent}, ${signed(100 * (comparison.simulated - comparison.reference))} points`;
}

/** What a section's figures say, in a sentence or two; empty without figures. */
export function verdictOf(comparisons: readonly Comparison[]): string {
  return (["predicted", "fitted"] as const)
    .flatMap((standing) => {
      const group = comparisons.filter((comparison) => comparison.standing === standing);
      return group.length === 0 ? [] : [groupVerdict(standing, group)];
    })
    .join(" ");
}

function groupVerdict(standing: Standing, group: readonly Comparison[]): string {
  const count = (want: Nearness) => group.filter((comparison) => nearness(comparison) === want).length;
  const distance = (comparison: Comparison) => Math.abs(errorPct(comparison) ?? Infinity);
  const worst = group.reduce((a, b) => (distance(b) > distance(a) ? b : a));
  const name = standing === "predicted" ? "Predicted" : "Fitted";
  const counts = (["close", "rough", "off"] as const)
    .flatMap((want) => (count(want) === 0 ? [] : [`${count(want)} ${want}`]))
    .join(", ");
  return `${name}: of ${group.length} figure${group.length === 1 ? "" : "s"} ${counts}; furthest off is ${worst.what}, ${valueText(worst.unit, worst.simulated)} against ${valueText(worst.unit, worst.reference)} (${errorText(worst)}).`;
}

export function signed(value: number): string {
  const text = value.toFixed(Math.abs(value) < 10 ? 1 : 0);
  return value > 0 ? `+${text}` : text;
}
