/** Pieces that several wire schemas share. Durations are milliseconds, shares 0..1, percentages 0..100. */
import type {
  Allocation,
  GeneratedAllocation,
  LatencyTarget,
  Limits,
  SloClass,
  SloTarget,
  Split,
} from "@fulcrum/core/nouns.js";
import { MAX_SLO_CLASSES } from "@fulcrum/core/nouns.js";
import { z } from "zod";

/** A name a person types: pools, instances, agents. Safe in a URL path and in a metric label. */
export const name = z
  .string()
  .regex(
    /^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$/,
    "must be 1..63 of a-z 0-9 . _ - and start and end with a letter or digit",
  )
  .meta({ id: "Name", example: "chat-8b" });

/**
 * A character that a terminal obeys or that turns the direction of text around, as the text of a regular expression: control
 * characters but tab and line feed, the bidirectional overrides, embeddings and isolates, line and paragraph separator.
 */
export const CONTROL = "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u2028-\\u202e\\u2066-\\u2069]";
const control = new RegExp(CONTROL, "u");

/** Words that people write and others read in a terminal: reasons, comments. Lines and tabs may be in them. */
export function words(least: number, most: number) {
  return z
    .string()
    .trim()
    .min(least)
    .max(most)
    .refine((text) => !control.test(text), {
      error:
        "must hold no control characters (an escape sequence, a change of writing direction) but tab and line feed",
    });
}

/** As `words`, on one line: names that people give. */
export function line(most: number) {
  return words(1, most).refine((text) => !/[\t\n]/.test(text), { error: "must be one line, without tabs" });
}

export const uuid = z.uuid().meta({ id: "Id" });
export const timestamp = z.iso.datetime().meta({ id: "Timestamp", example: "2026-11-22T12:00:00.000Z" });
export const atMs = z
  .int()
  .min(0)
  .max(8_640_000_000_000_000)
  .meta({ id: "AtMs", description: "Epoch milliseconds." });
/** As Postgres' integer: a generation a second lasts 68 years. */
const MAX_GENERATION = 2_147_483_647;

export const generation = z.int().min(0).max(MAX_GENERATION).meta({ id: "Generation" });

export const smPct = z.number().min(1).max(100);
export const kvQuotaPct = z.number().min(1).max(100);

export const split = z.strictObject({ prefillSmPct: smPct, decodeSmPct: smPct }).meta({
  id: "Split",
  description: "Caps on the SMs of each phase, percent; the paper's (x, y).",
}) satisfies z.ZodType<Split>;

export const allocation = z
  .strictObject({ split, kvQuotaPct })
  .meta({ id: "Allocation" }) satisfies z.ZodType<Allocation>;

export const generatedAllocation = z
  .strictObject({ split, kvQuotaPct, generation })
  .meta({ id: "GeneratedAllocation" }) satisfies z.ZodType<GeneratedAllocation>;

const latencyTarget = z.strictObject({
  percentile: z.number().gt(0).lt(1).meta({ description: "For example 0.9." }),
  boundMs: z.number().gt(0).max(3_600_000),
}) satisfies z.ZodType<LatencyTarget>;

const promise = { ttft: latencyTarget, tpot: latencyTarget, attainmentShare: z.number().gt(0).lte(1) };

export const sloClass = z.strictObject({ name, ...promise }).meta({
  id: "SloClass",
  description:
    "A promise below the pool's own. Its requests are those that the engine calls by this name; where the engine tells " +
    "no classes, all requests are held against its bounds.",
}) satisfies z.ZodType<SloClass>;

export const sloTarget = z
  .strictObject({
    ...promise,
    classes: z
      .array(sloClass)
      .max(MAX_SLO_CLASSES)
      .readonly()
      .refine((classes) => new Set(classes.map((each) => each.name)).size === classes.length, {
        error: "must have different names",
      })
      .optional()
      .meta({
        description:
          "Further promises, in order; the SLO itself goes before them. A split that brings a promise nearer to being kept " +
          "beats whatever it costs those after it, and a promise that is kept asks for no more. Policy `search` alone " +
          "looks at them.",
      }),
  })
  .meta({
    id: "SloTarget",
    example: {
      ttft: { percentile: 0.9, boundMs: 300 },
      tpot: { percentile: 0.9, boundMs: 100 },
      attainmentShare: 0.9,
    },
  }) satisfies z.ZodType<SloTarget>;

export const limits = z
  .strictObject({
    minSmPct: z.number().min(1).max(100),
    maxSmPct: z.number().min(1).max(100),
    maxSumPct: z.number().min(2).max(200),
    granularityPct: z.number().gt(0).max(50),
    minKvQuotaPct: z.number().min(1).max(100),
    maxKvQuotaPct: z.number().min(1).max(100),
  })
  .meta({ id: "Limits" }) satisfies z.ZodType<Limits>;

/** Query parameters of every paged list: newest first. */
export const page = {
  limit: z.coerce.number().int().min(1).max(500).default(50),
  cursor: z.string().max(200).optional(),
};

export function pageOf<T extends z.ZodType>(item: T) {
  return z.strictObject({ items: z.array(item), nextCursor: z.string().nullable() });
}
