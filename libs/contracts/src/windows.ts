import type { Histogram, Window } from "@fulcrum/core/nouns.js";
import { z } from "zod";
import { atMs, generation } from "./primitives.js";

const count = z.int().min(0).max(1e12);
/** A busy share may pass 1 a little: the worker's clock and the scrape's are two clocks. */
const share = z.number().min(0).max(1.05);
const gauge = z.number().min(0).max(1e12).nullable();

/** Counts, the overflow included; as core's checkWindow. SGLang ships 24, vLLM 23, finer sets rarely need 40. */
export const MAX_BUCKETS = 64;

export const histogram = z
  .strictObject({
    boundsMs: z
      .array(z.number().gt(0).max(1e9))
      .min(1)
      .max(MAX_BUCKETS - 1),
    counts: z.array(z.int().min(0).max(1e12)).min(2).max(MAX_BUCKETS),
    sumMs: z.number().min(0).max(1e15),
  })
  .meta({
    id: "Histogram",
    description:
      "counts has one entry more than boundsMs, which ascends; the last counts what exceeds every bound.",
  }) satisfies z.ZodType<Histogram>;

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
  })
  .meta({
    id: "Window",
    description:
      "What was measured on an instance in one interval. A gauge that the engine does not expose is null, never zero.",
  }) satisfies z.ZodType<Window>;
