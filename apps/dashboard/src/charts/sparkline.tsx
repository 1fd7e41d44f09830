interface SparklineProps {
  readonly values: readonly (number | null)[];
  /** A line to compare with: the SLO. */
  readonly bound: number;
  /** Whether a value above the bound is the bad side. */
  readonly badAbove: boolean;
}

/** Steps without a value that a line is still drawn across: windows of up to ten seconds come less often than steps. */
const MAX_GAP = 6;
const WIDTH = 80;
const HEIGHT = 22;

/** The last minutes beside the SLO's line; what it says stands beside it as a number, so it is hidden from readers. */
export function Sparkline({ values, bound, badAbove }: SparklineProps) {
  const seen = values.filter((value) => value !== null);
  if (seen.length < 2) return <svg className="spark" width={WIDTH} height={HEIGHT} aria-hidden="true" />;
  // Outliers of a few times the bound would press everything else flat.
  const top = Math.min(Math.max(...seen, bound), bound * 3) * 1.05;
  const low = badAbove ? 0 : Math.min(...seen, bound) * 0.95;
  const y = (value: number) => HEIGHT - 1 - ((Math.min(value, top) - low) / (top - low || 1)) * (HEIGHT - 2);
  const x = (index: number) => (index / (values.length - 1)) * WIDTH;
  let path = "";
  let lastIndex = -Infinity;
  values.forEach((value, index) => {
    if (value === null) return;
    path += `${index - lastIndex <= MAX_GAP ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    lastIndex = index;
  });
  const last = seen.at(-1)!;
  const isBad = badAbove ? last > bound : last < bound;
  return (
    <svg
      className="spark"
      width={WIDTH}
      height={HEIGHT}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      aria-hidden="true"
    >
      <line className="spark-bound" x1={0} x2={WIDTH} y1={y(bound)} y2={y(bound)} />
      <path className={isBad ? "spark-line is-bad" : "spark-line"} d={path} />
    </svg>
  );
}
