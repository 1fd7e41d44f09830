/** Pieces that several wire schemas share. Durations are milliseconds, shares 0..1, percentages 0..100. */
import type {
  Allocation,
  GeneratedAllocation,
  LatencyTarget,
  Limits,
  SloTarget,
  Split,
} from "@fulcrum/core/nouns.js";
import { z } from "zod";

/** A name a person types: pools, instances, agents. Safe in a URL path and in a metric label. */
export const name = z
  .string()
  .regex(
    /^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$/,
    "must be 1..63 of a-z 0-9 . _ - and start and end with a letter or digit",
  )
  .meta({ id: "Name", example: "chat-8b" });

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

export const sloTarget = z
  .strictObject({ ttft: latencyTarget, tpot: latencyTarget, attainmentShare: z.number().gt(0).lte(1) })
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
