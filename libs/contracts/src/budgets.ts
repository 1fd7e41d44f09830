/** What is left of a pool's promise, how fast it is being spent, and the alerts that come of it. */
import type { BurnName, Severity } from "@fulcrum/core/budget/burn.js";
import { z } from "zod";
import { atMs, name, page, timestamp, uuid } from "./primitives.js";

/** Slices of a budget's history at most. */
export const MAX_SLICES = 300;

export const severity = z.enum(["page", "ticket"]).meta({
  id: "Severity",
  description: "page: somebody must look now; ticket: within days.",
}) satisfies z.ZodType<Severity>;

const burnName = z.enum(["burn_1h", "burn_6h", "burn_3d"]) satisfies z.ZodType<BurnName>;

const rate = z.number().nullable();

export const burn = z
  .strictObject({
    name: burnName,
    severity,
    longMs: z.int(),
    shortMs: z.int(),
    longRate: rate.meta({
      description: "How many times too fast: 1 spends exactly the budget in its days; null without requests.",
    }),
    shortRate: rate,
    shortRequests: z.number().meta({ description: "Requests of the short window." }),
    threshold: z.number(),
    loweredFrom: z.number().nullable().meta({
      description: "What the threshold would be, could the promise be missed by so much at all.",
    }),
    firing: z.boolean(),
    message: z.string(),
  })
  .meta({
    id: "Burn",
    description: "A pair of windows. It fires when both rates are at or above the threshold.",
  });

export const budget = z
  .strictObject({
    pool: name,
    days: z.int(),
    target: z.number().meta({ description: "slo.attainmentShare, as it is now." }),
    requests: z.number().meta({ description: "That finished in those days." }),
    within: z.number().meta({
      description:
        "Of those, within both bounds as they were then. A sum of shares, hence not a whole number.",
    }),
    spentShare: z.number().min(0).meta({
      description: "Of the budget, which is requests * (1 - target); above 1 the promise is broken.",
    }),
    remainingShare: z.number().max(1).meta({ description: "1 - spentShare; negative where it is broken." }),
    sinceMs: atMs.nullable().meta({ description: "The first request that was counted; null: none was." }),
    bySlice: z
      .array(z.strictObject({ fromMs: atMs, requests: z.number(), within: z.number() }))
      .max(MAX_SLICES)
      .meta({ description: "Oldest first, each as long as `sliceMs`; those without requests are left out." }),
    sliceMs: z.int(),
    burn: z.array(burn),
    message: z.string(),
  })
  .meta({ id: "Budget" });

export const alertState = z.enum(["firing", "resolved"]);

export const alert = z
  .strictObject({
    id: uuid,
    pool: name,
    name: burnName,
    severity,
    message: z
      .string()
      .meta({ description: "What its windows say; also why it fires on with too few requests." }),
    startedAt: timestamp,
    endedAt: timestamp.nullable().meta({ description: "null: it fires." }),
    values: z
      .strictObject({
        longMs: z.int(),
        shortMs: z.int(),
        longRate: rate,
        shortRate: rate,
        shortRequests: z.number(),
        threshold: z.number(),
        target: z.number(),
      })
      .meta({ description: "As they were when it began to fire." }),
  })
  .meta({ id: "Alert" });

export const alertQuery = z.strictObject({
  ...page,
  state: alertState.optional(),
  pool: name.optional(),
});

export type Budget = z.infer<typeof budget>;
export type BurnResource = z.infer<typeof burn>;
export type Alert = z.infer<typeof alert>;
