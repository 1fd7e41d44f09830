/** Holds: everything that keeps the policy from moving an instance, whoever put it there. */
import { z } from "zod";
import { allocation, generation, name, page, timestamp, uuid, words } from "./primitives.js";

export const MIN_HOLD_MS = 1_000;
export const MAX_HOLD_MS = 30 * 86_400_000;
/** Holds in force at one time, and freeze windows among them. */
export const MAX_ACTIVE_HOLDS = 1_000;
export const MAX_FREEZE_WINDOWS = 100;
const MIN_WINDOW_MS = 60_000;

export const reason = words(1, 500).meta({ description: "Why; told wherever it shows." });
const ttlMs = z.int().min(MIN_HOLD_MS).max(MAX_HOLD_MS);
const openEndedTtlMs = ttlMs.nullable().default(null).meta({ description: "null: until it is taken away." });

export const holdKind = z.enum(["pause", "pin", "override", "freeze_window"]).meta({
  id: "HoldKind",
  description:
    "pause: nothing is decided that moves; pin: an instance stays where it is; override: it was set by hand and " +
    "stays there; freeze_window: a pause that comes back by the clock.",
});

export const schedule = z
  .strictObject({
    cron: z.string().min(9).max(100).meta({
      description: "When it begins: minute, hour, day of month, month, day of week.",
      example: "0 22 * * 1-5",
    }),
    timeZone: z.string().min(1).max(64).meta({ description: "IANA name.", example: "Europe/Berlin" }),
    durationMs: z.int().min(MIN_WINDOW_MS).max(MAX_HOLD_MS),
  })
  .meta({ id: "Schedule" });

export const hold = z
  .strictObject({
    id: uuid,
    kind: holdKind,
    pool: name
      .nullable()
      .meta({ description: "null, as instance is: the whole fleet. Of an instance's hold its pool." }),
    instance: name.nullable(),
    allocation: allocation.nullable().meta({ description: "What an override asked for." }),
    generation: generation.nullable().meta({ description: "What an override made." }),
    schedule: schedule.nullable(),
    reason: z.string(),
    actor: z.string(),
    from: timestamp,
    until: timestamp.nullable(),
    endedAt: timestamp.nullable(),
    endedBy: z.string().nullable().meta({ description: "null while it lasts, or when its time ran out." }),
    endReason: z.string().nullable(),
    active: z.boolean().meta({ description: "Not ended, and its time has not run out." }),
    holding: z.boolean().meta({ description: "active, and of a freeze window: it is one of its times now." }),
    window: z
      .strictObject({
        from: timestamp,
        until: timestamp.nullable().meta({
          description:
            "Times that follow each other without a gap are one; null: 500 of them do, and its end is not in sight.",
        }),
      })
      .nullable()
      .meta({
        description: "Of an active freeze window: the present time, since it last began, or the coming one.",
      }),
  })
  .meta({ id: "Hold" });

export const holdQuery = z.strictObject({
  ...page,
  active: z
    .enum(["true", "false"])
    .optional()
    .meta({ description: "Only those that are active, or only those that are not." }),
  kind: holdKind.optional(),
  pool: name.optional().meta({ description: "What touches the pool: its own, the fleet's, its instances'." }),
  instance: name.optional().meta({ description: "What touches it: its own, its pool's and the fleet's." }),
});

export const pauseInput = z
  .strictObject({ pool: name.optional(), instance: name.optional(), ttlMs: openEndedTtlMs, reason })
  .refine(({ pool, instance }) => pool === undefined || instance === undefined, {
    path: ["instance"],
    error: "name a pool or an instance, not both; neither: the whole fleet",
  })
  .meta({ id: "PauseInput" });

export const freezeWindowInput = z
  .strictObject({ pool: name.optional(), ...schedule.shape, reason })
  .meta({ id: "FreezeWindowInput" });

export const pinInput = z.strictObject({ ttlMs: openEndedTtlMs, reason }).meta({ id: "PinInput" });

export const overrideInput = z.strictObject({ allocation, ttlMs, reason }).meta({ id: "OverrideInput" });

export const rollbackInput = z
  .strictObject({
    generation: generation.meta({
      description: "An earlier one that was verified; its allocation comes back.",
    }),
    ttlMs,
    reason,
  })
  .meta({ id: "RollbackInput" });

/** Earlier generations that are listed: the newest ones, and the oldest that is known. */
export const MAX_GENERATIONS = 100;

export const earlierGenerations = z
  .strictObject({
    items: z
      .array(
        z.strictObject({
          generation,
          allocation,
          origin: z.enum(["found", "verified"]).meta({
            description:
              "found: what ran before the controller moved it; verified: a rollout was seen through.",
          }),
          at: timestamp
            .nullable()
            .meta({ description: "Since when it was in force; null: not known any more." }),
        }),
      )
      .meta({ description: `Newest first, at most ${MAX_GENERATIONS}.` }),
  })
  .meta({ id: "EarlierGenerations" });

export type EarlierGenerations = z.infer<typeof earlierGenerations>;
export type Hold = z.infer<typeof hold>;
export type HoldKind = z.infer<typeof holdKind>;
export type Schedule = z.infer<typeof schedule>;
export type PauseInput = z.infer<typeof pauseInput>;
export type FreezeWindowInput = z.infer<typeof freezeWindowInput>;
export type PinInput = z.infer<typeof pinInput>;
export type OverrideInput = z.infer<typeof overrideInput>;
export type RollbackInput = z.infer<typeof rollbackInput>;
