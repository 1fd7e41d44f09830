/** What a page shows while it is open: the fleet at a glance, one instance over time, and what has just changed. */
import { z } from "zod";
import { allocation, atMs, generation, name, page, sloTarget, split, timestamp, uuid } from "./primitives.js";
import { instance } from "./resources.js";

const ms = z.number().nullable();
const share = z.number().nullable();
const pct = z.number().nullable();

/** Points of a sparkline at most, and how far back they reach. */
export const SPARK_POINTS = 60;
export const SPARK_MS = 120_000;

export const spark = z
  .strictObject({
    stepMs: z.int(),
    attainment: z.array(share).max(SPARK_POINTS),
    ttftMs: z.array(ms).max(SPARK_POINTS),
    tpotMs: z.array(ms).max(SPARK_POINTS),
  })
  .meta({
    id: "Spark",
    description:
      "The last two minutes in equal steps, oldest first, the last one under way; null where nothing was measured.",
  });

export const fleetItem = z
  .strictObject({
    instance: instance.omit({ bucketWarnings: true, flaps: true }),
    attainmentShare: share.meta({
      description:
        "Share of first tokens within their bound times share of answers within theirs; null without both.",
    }),
    ttftMs: ms.meta({
      description: "At the SLO's percentile, over the pool's lookback (at most two minutes).",
    }),
    tpotMs: ms,
    slo: sloTarget,
    kvUsedShare: share,
    arrivalPerS: z.number().nullable(),
    spark,
  })
  .meta({ id: "FleetItem" });

export const fleetQuery = z.strictObject({
  cursor: page.cursor,
  limit: z.coerce.number().int().min(1).max(1_000).default(1_000),
  pool: name.optional(),
});

export const fleet = z
  .strictObject({
    at: timestamp,
    eventId: z.string().meta({
      description: "Send it as Last-Event-ID to /v1/events: what came after this answer follows.",
    }),
    items: z.array(fleetItem),
    nextCursor: z.string().nullable(),
  })
  .meta({ id: "Fleet" });

export const seriesQuery = z.strictObject({
  from: timestamp.optional().meta({ description: "15 minutes before `to` unless told." }),
  to: timestamp.optional().meta({ description: "Now unless told." }),
  points: z.coerce.number().int().min(10).max(600).default(300),
});

export const seriesPoint = z
  .strictObject({
    atMs,
    ttftMs: ms,
    tpotMs: ms,
    ttftP50Ms: ms,
    tpotP50Ms: ms,
    attainmentShare: share,
    arrivalPerS: z.number().nullable(),
    promptTokensPerS: z.number().nullable(),
    prefillWaiting: z.number().nullable(),
    decodeRunning: z.number().nullable(),
    kvUsedShare: share,
    kvQuotaPct: pct,
    prefillSmPct: pct,
    decodeSmPct: pct,
    generation: generation.nullable(),
  })
  .meta({
    id: "SeriesPoint",
    description:
      "One step, named by its beginning. Attainment and latencies by the SLO in force at its end, and the median; rates " +
      "over engine time; gauges and what ran (split and quota as they were read back, generation) as of the step's last " +
      "window; null where it was not measured or not read back.",
  });

export const series = z
  .strictObject({
    stepMs: z.int(),
    fromMs: atMs,
    toMs: atMs,
    slo: sloTarget.meta({ description: "In force now." }),
    slos: z.array(z.strictObject({ fromMs: atMs, version: z.int(), slo: sloTarget })).meta({
      description: "Which SLO was in force from when on, oldest first; the first one at the beginning.",
    }),
    points: z.array(seriesPoint).meta({ description: "Oldest first; steps without a window are left out." }),
    sampledEvery: z.int().min(1).meta({
      description: "1: every window was read; n: of so many windows that only each n-th was.",
    }),
    asked: z.array(z.strictObject({ fromMs: atMs, generation, allocation })).meta({
      description: "What was asked from when on, oldest first; the first one was in force at the beginning.",
    }),
    marks: z.array(
      z.strictObject({
        atMs: atMs.meta({
          description: "When it began; of a hold that may be before the series begins.",
        }),
        endMs: atMs.nullable().meta({
          description:
            "Of a hold: when it ended or is to end (for a freeze window: this time of it); null: nobody has said when.",
        }),
        kind: z.enum(["decision", "rollout", "hold"]),
        id: uuid,
        label: z.string(),
      }),
    ),
    predicted: z.array(z.strictObject({ atMs, ttftMs: ms, tpotMs: ms })),
  })
  .meta({ id: "Series" });

export const eventsQuery = z.strictObject({ instance: name.optional() });

/** `data` of the events of /v1/events, by their names. The page loads the rest of what it shows by id. */
export const liveEvents = {
  window: z.strictObject({
    instance: name,
    atMs,
    ttftMs: ms,
    tpotMs: ms,
    attainmentShare: share,
    arrivalPerS: z.number().nullable(),
    kvUsedShare: share,
    split: split.nullable().meta({ description: "What runs, as last read back." }),
    kvQuotaPct: pct,
    generation: generation.nullable(),
  }),
  decision: z.strictObject({ id: uuid, instance: name, kind: z.enum(["move", "hold"]), reason: z.string() }),
  rollout: z.strictObject({ id: uuid, instance: name, state: z.string(), generation }),
  hold: z.strictObject({ id: uuid, pool: name.nullable(), instance: name.nullable() }),
  proposal: z.strictObject({ id: uuid, instance: name, state: z.string() }),
  /** A pool or its SLO was made, changed or deleted; `version` is the ETag to read it with. */
  pool: z.strictObject({ pool: name, version: z.int(), sloVersion: z.int(), deleted: z.boolean() }),
  /** Closes what belongs together and carries the id to come back with; what came after the last one is sent again. */
  position: z.strictObject({ atMs }),
  /** Too much or too long ago to catch up: load anew. */
  reset: z.strictObject({ reason: z.string() }),
} as const;

export type LiveEventName = keyof typeof liveEvents;
export type LiveEvent<N extends LiveEventName> = z.infer<(typeof liveEvents)[N]>;
export type Fleet = z.infer<typeof fleet>;
export type FleetItem = z.infer<typeof fleetItem>;
export type Spark = z.infer<typeof spark>;
export type Series = z.infer<typeof series>;
export type SeriesPoint = z.infer<typeof seriesPoint>;
export type SeriesQuery = z.infer<typeof seriesQuery>;
