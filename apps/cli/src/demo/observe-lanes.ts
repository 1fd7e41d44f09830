import type { Instance } from "@fulcrum/contracts/resources.js";
import type { Histogram, SloTarget, Window } from "@fulcrum/core/nouns.js";
import { addHistograms, percentile, sameBounds, type Percentile } from "@fulcrum/core/signal/histogram.js";
import type { ApiClient } from "../api/client.js";
import type { Engine } from "../local/services.js";
import { scrapeCounts, type EngineCounts } from "./engine-counts.js";
import type { Lane } from "./lanes.js";

/** The newest windows that the live view folds. */
const VIEW_WINDOWS = 8;

/** What the live view shows of one engine. */
export interface LaneView {
  readonly lane: Lane;
  readonly instance: Instance | null;
  readonly arrivalPerS: number | null;
  readonly ttft: Percentile | null;
  readonly tpot: Percentile | null;
  readonly kvShare: number | null;
  readonly counts: EngineCounts | null;
}

export function blankView(lane: Lane): LaneView {
  return { lane, instance: null, arrivalPerS: null, ttft: null, tpot: null, kvShare: null, counts: null };
}

/** One look at every lane: one list of instances, and windows and counts of each. */
export async function observeLanes(
  api: ApiClient,
  lanes: readonly { readonly lane: Lane; readonly engine: Engine }[],
  slo: SloTarget,
  signal: AbortSignal,
): Promise<LaneView[]> {
  const { body } = await api.call("listInstances", {});
  return Promise.all(
    lanes.map(async ({ lane, engine }) => {
      const instance = body.items.find(({ name }) => name === lane.name) ?? null;
      const counts = await scrapeCounts(engine.metricsUrl, signal);
      if (instance === null) return { ...blankView(lane), counts };
      const reply = await api.call("listWindows", {
        params: { instance: lane.name },
        query: { limit: VIEW_WINDOWS },
      });
      const windows = reply.body.items.map(({ window }) => window);
      return { lane, instance, counts, ...measured(windows, slo) };
    }),
  );
}

/** The newest windows (newest first) as one measurement. */
export function measured(
  windows: readonly Window[],
  slo: SloTarget,
): Pick<LaneView, "arrivalPerS" | "ttft" | "tpot" | "kvShare"> {
  const durationMs = windows.reduce((sum, window) => sum + window.durationMs, 0);
  const arrivals = windows.reduce((sum, window) => sum + window.arrivals, 0);
  const ttft = folded(windows.map((window) => window.ttft));
  const tpot = folded(windows.map((window) => window.tpot));
  const kv = windows[0]?.kv;
  return {
    arrivalPerS: durationMs > 0 ? (arrivals * 1_000) / durationMs : null,
    ttft: ttft === null ? null : percentile(ttft, slo.ttft.percentile),
    tpot: tpot === null ? null : percentile(tpot, slo.tpot.percentile),
    kvShare: kv?.usedTokens != null && kv.totalTokens ? kv.usedTokens / kv.totalTokens : null,
  };
}

function folded(histograms: readonly Histogram[]): Histogram | null {
  const [first, ...rest] = histograms;
  if (first === undefined) return null;
  return rest.reduce((sum, each) => (sameBounds(sum, each) ? addHistograms(sum, each) : sum), first);
}
