import { MAX_WINDOW_CLASSES } from "@fulcrum/core/nouns.js";
import type { Histogram, Window, WindowClass, WindowWork } from "@fulcrum/core/nouns.js";
import { z } from "zod";
import { atMs, generation, name } from "./primitives.js";

const count = z.int().min(0).max(1e12);
/** A busy share may pass 1 a little: the worker's clock and the scrape's are two clocks. */
const share = z.number().min(0).max(1.05);
const gauge = z.number().min(0).max(1e12).nullable();

const counted = count.nullable();
/** A million prompts of a million tokens each, squared. */
const MAX_TOKENS_SQ = 1e18;

/** Counts, the overflow included; as core's checkWindow. SGLang ships 24, vLLM 23, finer sets rarely need 40. */
export const MAX_BUCKETS = 64;

export const boundsMs = z
  .array(z.number().gt(0).max(1e9))
  .min(1)
  .max(MAX_BUCKETS - 1);

export const histogram = z
  .strictObject({
    boundsMs,
    counts: z.array(z.int().min(0).max(1e12)).min(2).max(MAX_BUCKETS),
    sumMs: z.number().min(0).max(1e15),
  })
  .meta({
    id: "Histogram",
    description:
      "counts has one entry more than boundsMs, which ascends; the last counts what exceeds every bound.",
  }) satisfies z.ZodType<Histogram>;

export const windowWork = z
  .strictObject({
    promptTokensSq: z.number().min(0).max(MAX_TOKENS_SQ).nullable(),
    maxPromptTokens: counted,
    finishedOutputTokens: counted,
    prefillBatches: counted,
    prefillTokens: counted,
    decodeSteps: counted,
    decodeStepMeanMs: z.number().min(0).max(3_600_000).nullable(),
    decodeBatchMean: gauge,
    decodeContextMean: gauge,
    overlapShare: share.nullable(),
    prefillGpuShare: share.nullable(),
    decodeGpuShare: share.nullable(),
    prefillWaitingTokens: gauge,
    oldestWaitMs: gauge,
    decodeWaiting: gauge,
    maxSequences: counted,
    maxBatchTokens: counted,
  })
  .meta({
    id: "WindowWork",
    description:
      "What the workers did, beyond latencies: how heavy the load was and what an iteration costs. " +
      "promptTokensSq sums squared prompt lengths; shares are of the window; what waits is as of its end. " +
      "A part that the engine does not tell is null.",
  }) satisfies z.ZodType<WindowWork>;

export const windowClass = z
  .strictObject({
    name,
    arrivals: count,
    promptTokens: count,
    promptTokensSq: z.number().min(0).max(MAX_TOKENS_SQ),
    ttft: histogram,
    tpot: histogram,
  })
  .meta({
    id: "WindowClass",
    description:
      "What came of one class of requests and its latencies, with the bucket bounds of the window's own histograms.",
  }) satisfies z.ZodType<WindowClass>;

export const window = z
  .strictObject({
    // 0 is what an instance without windows has stored last.
    seq: z.int().min(1),
    startAtMs: atMs,
    endAtMs: atMs,
    durationMs: z.number().min(1).max(3_600_000),
    generation: generation.nullable(),
    arrivals: count,
    promptTokens: count,
    finished: count,
    outputTokens: count,
    ttft: histogram,
    tpot: histogram,
    queue: z.strictObject({ prefillWaiting: gauge, decodeRunning: gauge }),
    kv: z.strictObject({ totalTokens: gauge, usedTokens: gauge, preemptions: gauge }),
    busy: z.strictObject({ prefillShare: share.nullable(), decodeShare: share.nullable() }),
    // Agents before this was asked for leave it out.
    work: windowWork.nullable().optional(),
    classes: z.array(windowClass).max(MAX_WINDOW_CLASSES).readonly().optional().meta({
      description: "Where the engine tells classes of requests apart; each name once.",
    }),
  })
  .meta({
    id: "Window",
    description:
      "What was measured on an instance in one interval. A gauge that the engine does not expose is null, never zero.",
  }) satisfies z.ZodType<Window>;
