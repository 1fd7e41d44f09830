/** How many instances would keep a pool's promise at the best split: what a replica autoscaler reads. */
import { z } from "zod";
import { name } from "./primitives.js";

const headroom = z
  .number()
  .nullable()
  .meta({
    description:
      "How many times the present load the best allowed split could carry within the promise; below 1 it carries less than " +
      "what comes. null: not known, `why` says why.",
  });

export const capacity = z
  .strictObject({
    pool: name,
    instances: z.int().meta({ description: "Of the pool, those without a signal included." }),
    needed: z.int().meta({
      description:
        "Instances that would carry the present load, with the safety margin. Falls only after it has been lower for a while.",
    }),
    additional: z.int().min(0).meta({ description: "needed less instances, never below 0." }),
    headroom: headroom.meta({ description: "Of the pool: what its instances carry, over what comes." }),
    known: z
      .int()
      .meta({ description: "Instances whose headroom is known; the others are taken to be as these." }),
    perInstance: z.array(
      z.strictObject({
        instance: name,
        headroom,
        arrivalPerS: z.number().nullable(),
        why: z.string(),
      }),
    ),
    message: z.string(),
  })
  .meta({ id: "Capacity" });

export type Capacity = z.infer<typeof capacity>;
