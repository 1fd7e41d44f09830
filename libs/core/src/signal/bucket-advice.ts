/**
 * Whether an SLO lies on a bucket bound of the engine's histograms. Inside a bucket the share of requests within the
 * SLO is interpolated (okShare), and what a person can do about it differs from engine to engine.
 */
import type { Histogram, SloTarget } from "../nouns.js";
import { MAX_BUCKETS, sampleCount } from "./histogram.js";

/** Whose metrics the windows are made of. */
export const ENGINES = ["sglang", "vllm", "dynamo", "trtllm"] as const;
export type EngineName = (typeof ENGINES)[number];

/** The bucket that a bound cuts: (belowMs, aboveMs], the last one without an upper end. */
export interface CutBucket {
  readonly belowMs: number;
  readonly aboveMs: number | null;
  /** Share (0..1) of the samples that fell into it: attainment may err by at most this; null without samples. */
  readonly share: number | null;
  readonly samples: number;
}

export interface BucketAdvice {
  readonly condition: "TtftBoundInsideBucket" | "TpotBoundInsideBucket";
  readonly boundMs: number;
  readonly cut: CutBucket;
  /** One sentence on the error, one on what to do about it. */
  readonly message: string;
}

/** Null when the bound is a bucket bound: then the share within it is exact. */
export function cutBucket(histogram: Histogram, boundMs: number): CutBucket | null {
  const { boundsMs, counts } = histogram;
  if (boundsMs.includes(boundMs)) return null;
  const above = boundsMs.findIndex((bound) => bound > boundMs);
  const index = above === -1 ? boundsMs.length : above;
  const samples = sampleCount(histogram);
  return {
    belowMs: boundsMs[index - 1] ?? 0,
    aboveMs: boundsMs[index] ?? null,
    share: samples > 0 ? (counts[index] ?? 0) / samples : null,
    samples,
  };
}

/** One entry per SLO bound that cuts a bucket; a histogram that is not known is passed over. */
export function bucketAdvice(
  slo: SloTarget,
  seen: { readonly ttft: Histogram | null; readonly tpot: Histogram | null },
  engine: EngineName | null,
): BucketAdvice[] {
  const advice: BucketAdvice[] = [];
  for (const metric of ["ttft", "tpot"] as const) {
    const histogram = seen[metric];
    const { boundMs } = slo[metric];
    const cut = histogram && cutBucket(histogram, boundMs);
    if (!histogram || !cut) continue;
    const words = METRICS[metric];
    advice.push({
      condition: words.condition,
      boundMs,
      cut,
      message: `${errorWords(words.title, boundMs, cut)} ${remedy(engine, words, histogram.boundsMs, boundMs, cut)}`,
    });
  }
  return advice;
}

interface MetricWords {
  readonly title: "TTFT" | "TPOT";
  readonly condition: BucketAdvice["condition"];
  /** Options that set the buckets, as the engines name them. */
  readonly sglangFlag: string;
  readonly trtllmField: string;
  readonly dynamoVariable: string;
}

const METRICS: Readonly<Record<"ttft" | "tpot", MetricWords>> = {
  ttft: {
    title: "TTFT",
    condition: "TtftBoundInsideBucket",
    sglangFlag: "--bucket-time-to-first-token",
    trtllmField: "time_to_first_token_buckets",
    dynamoVariable: "DYN_METRICS_TTFT",
  },
  tpot: {
    title: "TPOT",
    condition: "TpotBoundInsideBucket",
    sglangFlag: "--bucket-inter-token-latency",
    trtllmField: "time_per_output_token_buckets",
    dynamoVariable: "DYN_METRICS_ITL",
  },
};

function errorWords(title: string, boundMs: number, cut: CutBucket): string {
  const bucket = cut.aboveMs === null ? `above ${cut.belowMs} ms` : `${cut.belowMs}-${cut.aboveMs} ms`;
  const error =
    cut.share === null
      ? "how much is not known yet"
      : `${percent(cut.share)} of ${cut.samples} samples fell into that bucket, so attainment may err by as much`;
  return `The ${title} bound of ${boundMs} ms lies inside the engine's bucket ${bucket}: ${error}.`;
}

function remedy(
  engine: EngineName | null,
  words: MetricWords,
  boundsMs: readonly number[],
  boundMs: number,
  cut: CutBucket,
): string {
  const nearest = `move the SLO to ${[...(cut.belowMs > 0 ? [cut.belowMs] : []), ...(cut.aboveMs === null ? [] : [cut.aboveMs])].join(" or ")} ms`;
  const seconds = withBound(boundsMs, boundMs).map(inSeconds);
  switch (engine) {
    case "sglang":
      return `Start SGLang with ${words.sglangFlag} ${seconds.join(" ")}, or ${nearest}.`;
    case "trtllm":
      return `Set prometheus_metrics_config.${words.trtllmField} to [${seconds.join(", ")}] in TensorRT-LLM's options, or ${nearest}.`;
    case "dynamo":
      return dynamoRemedy(words, boundMs, nearest);
    case "vllm":
      return `vLLM has no option for its buckets: ${nearest}.`;
    case null:
      return `Give the engine a bucket bound at ${inSeconds(boundMs)} s, or ${nearest}.`;
  }
}

/**
 * Dynamo's frontend spaces its bounds evenly in the logarithm between MIN and MAX and rounds each to two digits
 * (generate_log_buckets): with MIN x MAX = bound^2 and an odd COUNT the middle one is the bound.
 */
function dynamoRemedy({ dynamoVariable }: MetricWords, boundMs: number, nearest: string): string {
  const rounded = Number(boundMs.toPrecision(2));
  const variables =
    `${dynamoVariable}_MIN=${inSeconds(rounded / 100)} ${dynamoVariable}_MAX=${inSeconds(rounded * 100)} ` +
    `${dynamoVariable}_COUNT=25`;
  return rounded === boundMs
    ? `Start Dynamo's frontend with ${variables}, or ${nearest}.`
    : `Dynamo rounds its bounds to two digits: move the SLO to ${rounded} ms and start the frontend with ${variables}, or ${nearest}.`;
}

/** With the bound put in; when that is one too many, without the bound farthest from it. */
function withBound(boundsMs: readonly number[], boundMs: number): number[] {
  const all = [...boundsMs, boundMs].sort((a, b) => a - b);
  if (all.length < MAX_BUCKETS) return all;
  const far = boundMs - (all[0] ?? 0) > (all.at(-1) ?? 0) - boundMs ? 0 : all.length - 1;
  return all.filter((_, i) => i !== far);
}

function inSeconds(ms: number): string {
  return String(Number((ms / 1_000).toPrecision(12)));
}

function percent(share: number): string {
  return `${Math.round(share * 1_000) / 10} %`;
}
