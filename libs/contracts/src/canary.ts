/** A pool in mode `canary`: the policy moves a share of the instances, and how they do is held beside the rest. */
import type { CanaryVerdict } from "@fulcrum/core/outcome/canary.js";
import { z } from "zod";
import { mode } from "./pools.js";
import { name, timestamp } from "./primitives.js";

const difference = z.number().min(-1).max(1);

export const canaryVerdict = z.enum(["better", "worse", "no_difference", "cannot_tell"]).meta({
  id: "CanaryVerdict",
  description:
    "better, worse: the interval lies above or below zero; no_difference: it lies within two points of it; cannot_tell: " +
    "neither, there are too few blocks, or good would be said of a canary that stopped serving or was never moved.",
}) satisfies z.ZodType<CanaryVerdict>;

export const canary = z
  .strictObject({
    pool: name,
    mode,
    since: timestamp.nullable().meta({
      description:
        "When the present comparison began: with the mode, the share, the policy or the SLO; null in any other mode.",
    }),
    instances: z.array(name).meta({ description: "Those that the policy moves; empty in any other mode." }),
    rest: z.array(name),
    blocks: z.int().meta({ description: "Blocks of time since, in which both parts served requests." }),
    silentBlocks: z.int().meta({
      description:
        "Blocks of time since in which the rest served and the canary did not, though at its usual share it would have. With more than 1 in 20 of them, or the newest 5, no good is said of it.",
    }),
    heldBlocks: z
      .int()
      .meta({ description: "Blocks that are left out, since holds held all of its instances." }),
    moves: z.int().meta({
      description: "Changes that the policy has made on its instances since; 0: no good is said of it.",
    }),
    blockMs: z.int(),
    minBlocks: z.int().meta({ description: "With fewer nothing is said." }),
    before: z.strictObject({ diff: difference, blocks: z.int() }).nullable().meta({
      description:
        "The same difference when all instances were treated alike, which is taken off; null: fewer than minBlocks are known.",
    }),
    diffShare: difference.nullable().meta({
      description:
        "Attainment of the canary less that of the rest, less the difference before where there is one.",
    }),
    lowShare: z.number().nullable(),
    highShare: z.number().nullable(),
    confidence: z.number().meta({ description: "Of the interval from lowShare to highShare." }),
    verdict: canaryVerdict,
    message: z.string(),
  })
  .meta({ id: "Canary" });

export type Canary = z.infer<typeof canary>;
