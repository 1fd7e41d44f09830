/** What a pool's policy would decide now under other settings; nothing is stored. */
import { z } from "zod";
import { mode, poolPatch } from "./pools.js";
import { allocation, name, sloTarget } from "./primitives.js";

/** Instances that one preview decides on. */
export const MAX_PREVIEWED = 200;

/** What is left out stays as it is. */
export const previewInput = poolPatch
  .pick({
    policy: true,
    mode: true,
    canary: true,
    guards: true,
    limits: true,
    lookbackMs: true,
    frozen: true,
  })
  .extend({ slo: sloTarget.optional() })
  .meta({ id: "PreviewInput" });

const latencies = z.strictObject({ ttftMs: z.number().nullable(), tpotMs: z.number().nullable() });

const outcome = z
  .strictObject({
    kind: z.enum(["move", "hold"]),
    reason: z.string(),
    message: z.string(),
    mode,
    applies: z.boolean().meta({ description: "Whether the allocation would be put in force at once." }),
    allocation,
    predicted: latencies.nullable(),
    observed: latencies.extend({ ttftOkShare: z.number().nullable(), tpotOkShare: z.number().nullable() }),
  })
  .meta({ id: "PreviewOutcome" });

export const previewDecision = outcome
  .extend({
    unheld: outcome.nullable().meta({
      description:
        "Where a person, a freeze or what follows failed changes (degraded, cool-down) holds it: what would be decided " +
        "without. null: nothing of that holds it.",
    }),
  })
  .meta({ id: "PreviewDecision" });

export const preview = z
  .strictObject({
    items: z.array(
      z.strictObject({
        instance: name,
        current: allocation,
        now: previewDecision,
        // oxlint-disable-next-line unicorn/no-thenable -- no function: nobody can await it
        then: previewDecision,
      }),
    ),
    note: z.string().meta({ description: "What this can and cannot say, and how many were left out." }),
  })
  .meta({ id: "Preview" });

export type PreviewInput = z.infer<typeof previewInput>;
export type Preview = z.infer<typeof preview>;
export type PreviewOutcome = z.infer<typeof outcome>;
export type PreviewDecision = z.infer<typeof previewDecision>;
