import { failed } from "../failure.js";

/** What an engine counted since it started. */
export interface EngineCounts {
  /** Seconds of engine time. */
  readonly clockS: number;
  readonly arrived: number;
  /** Finished requests against the two bounds of the SLO. */
  readonly both: number;
  readonly ttftOnly: number;
  readonly tpotOnly: number;
  readonly neither: number;
}

const SCRAPE_LIMIT_MS = 5_000;

export async function scrapeCounts(metricsUrl: string, signal: AbortSignal): Promise<EngineCounts> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(SCRAPE_LIMIT_MS)]);
  const response = await fetch(metricsUrl, { signal: limit });
  if (!response.ok) throw failed(`${metricsUrl} answered HTTP ${response.status}`);
  return engineCounts(await response.text());
}

/** A counter with a label is exposed once it was used, so a missing result is 0. */
export function engineCounts(exposition: string): EngineCounts {
  const result = (name: string) =>
    sampleOf(exposition, "fulcrum_sim:slo_requests_total", `result="${name}"`) ?? 0;
  return {
    clockS: sampleOf(exposition, "fulcrum_sim:clock_seconds") ?? 0,
    arrived: sampleOf(exposition, "fulcrum_sim:requests_arrived_total") ?? 0,
    both: result("both"),
    ttftOnly: result("ttft_only"),
    tpotOnly: result("tpot_only"),
    neither: result("neither"),
  };
}

/** The first sample of a metric, among those with `label` if given; null when there is none. */
export function sampleOf(exposition: string, metric: string, label?: string): number | null {
  for (const line of exposition.split("\n")) {
    if (!line.startsWith(metric)) continue;
    const match = /^(\{.*\})?\s+(\S+)/.exec(line.slice(metric.length));
    if (match === null || (label !== undefined && !(match[1] ?? "").includes(label))) continue;
    const value = Number(match[2]);
    if (Number.isFinite(value)) return value;
  }
  return null;
}

export function finishedOf(counts: EngineCounts): number {
  return counts.both + counts.ttftOnly + counts.tpotOnly + counts.neither;
}

/** A share of the finished requests; null when none has finished. */
export function shareOfFinished(
  counts: EngineCounts,
  of: readonly ("both" | "ttftOnly" | "tpotOnly")[],
): number | null {
  const finished = finishedOf(counts);
  if (finished === 0) return null;
  return of.reduce((sum, name) => sum + counts[name], 0) / finished;
}
