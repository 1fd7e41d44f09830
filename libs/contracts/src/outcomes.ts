/** How decisions turned out: one trial each, and the evidence that a pool's trials add up to. */
import type { Figures } from "@fulcrum/core/outcome/attainment.js";
import type { PredictedFigures, Subject, Verdict } from "@fulcrum/core/outcome/judge.js";
import { z } from "zod";
import { reason } from "./holds.js";
import { mode } from "./pools.js";
import { name, timestamp } from "./primitives.js";

const share = z.number().min(0).max(1);

export const verdict = z.enum(["as_predicted", "better", "worse", "cannot_tell"]).meta({
  id: "Verdict",
  description:
    "How what came compares with what was predicted, and with before; shares that lie no further apart than the " +
    "margin (10 points), or than chance explains, are the same.",
}) satisfies z.ZodType<Verdict>;

export const subject = z.enum(["move", "stay"]).meta({
  id: "TrialSubject",
  description:
    "move: a change that was applied; stay: nothing was changed (modes observe and recommend), so that only what was " +
    "predicted of staying can be judged.",
}) satisfies z.ZodType<Subject>;

const figures = z
  .strictObject({
    attainmentShare: share,
    ttftOkShare: share,
    tpotOkShare: share,
    ttftMs: z.number(),
    tpotMs: z.number(),
    requests: z.int(),
    arrivalPerS: z.number(),
    promptTokensPerS: z.number(),
  })
  .meta({
    id: "TrialFigures",
    description:
      "What windows told. attainmentShare is the product of both phases' shares within their bounds; latencies are at " +
      "the SLO's percentiles.",
  }) satisfies z.ZodType<Figures>;

const predictedFigures = z
  .strictObject({
    ttftMs: z.number().nullable(),
    tpotMs: z.number().nullable(),
    attainmentShare: share.nullable().meta({
      description: "As if every latency measured before had changed as its percentile was predicted to.",
    }),
  })
  .meta({ id: "PredictedFigures" }) satisfies z.ZodType<PredictedFigures>;

/** `trial` of a decision: `outcome` there says whether it was applied. */
export const trial = z
  .strictObject({
    verdict: verdict.nullable().meta({ description: "null: the trial goes on, and so has no figures yet." }),
    subject,
    worseThan: z.enum(["before", "predicted"]).nullable(),
    from: timestamp.meta({ description: "When the change was verified, or the move recorded." }),
    to: timestamp.nullable(),
    requests: z.int().nullable().meta({ description: "That finished between the two." }),
    before: figures.nullable(),
    predicted: predictedFigures.nullable(),
    observed: figures.nullable(),
    message: z.string(),
    takenBack: z.boolean().meta({ description: "The allocation before was restored because of this." }),
  })
  .meta({ id: "Trial" });

export const evidenceQuery = z.strictObject({
  hours: z.coerce.number().int().min(1).max(720).default(24),
});

const counts = z.strictObject({
  as_predicted: z.int(),
  better: z.int(),
  worse: z.int(),
  cannot_tell: z.int(),
});

export const evidence = z
  .strictObject({
    pool: name,
    mode,
    from: timestamp,
    to: timestamp,
    open: z.int().meta({ description: "Trials that go on." }),
    items: z
      .array(
        z.strictObject({
          mode,
          subject,
          trials: z.int(),
          verdicts: counts,
          shares: z
            .strictObject({ as_predicted: share, better: share, worse: share, cannot_tell: share })
            .meta({ description: "Of trials." }),
          takenBack: z.int(),
          predictedGainShare: z.number().nullable().meta({
            description: "Mean of predicted less before, over trials that have both; null: none has.",
          }),
          observedGainShare: z
            .number()
            .nullable()
            .meta({ description: "Mean of observed less before, over the same trials." }),
          compared: z.int().meta({ description: "How many trials the two means are over." }),
        }),
      )
      .meta({ description: "By mode and subject; those without a trial are left out." }),
    message: z.string(),
  })
  .meta({ id: "Evidence" });

export const clearDegradedQuery = z.strictObject({ reason });

export type TrialResource = z.infer<typeof trial>;
export type Evidence = z.infer<typeof evidence>;
