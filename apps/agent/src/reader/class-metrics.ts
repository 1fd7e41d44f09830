/**
 * Requests by class, under `fulcrum:` names with the label `class`: no engine has names of its own for them. Any engine
 * may expose them; the histograms must have the bounds of its own TTFT and TPOT.
 */
import { MAX_WINDOW_CLASSES } from "@fulcrum/core/nouns.js";
import type { ClassCounters } from "./engine-reader.js";
import type { Labels, MetricSet } from "./metric-set.js";

const ARRIVED = "fulcrum:class_requests_arrived_total";
/** As work-metrics.ts. */
const MAX_SQUARED = 1e30;
/** What a window may carry; a label that is no name is no class. */
const NAME = /^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$/;

/** Nothing where the engine tells no classes; at most MAX_WINDOW_CLASSES, the first by name. */
export function readClasses(metrics: MetricSet): { readonly classes?: ReadonlyMap<string, ClassCounters> } {
  const names = metrics.valuesOf(ARRIVED, "class").filter((name) => NAME.test(name));
  if (names.length === 0) return {};
  const classes = names.slice(0, MAX_WINDOW_CLASSES).map((name): [string, ClassCounters] => {
    const only = (labels: Labels) => labels["class"] === name;
    return [
      name,
      {
        arrivals: metrics.counter(ARRIVED, only) ?? 0,
        promptTokens: metrics.counter("fulcrum:class_prompt_tokens_total", only) ?? 0,
        promptTokensSq: metrics.counter("fulcrum:class_prompt_tokens_squared_total", only, MAX_SQUARED) ?? 0,
        ttft: metrics.histogram("fulcrum:class_time_to_first_token_seconds", only),
        tpot: metrics.histogram("fulcrum:class_time_per_output_token_seconds", only),
      },
    ];
  });
  return { classes: new Map(classes) };
}
