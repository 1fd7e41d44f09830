/** How decisions turned out: one trial each, and the evidence that a pool's trials add up to. */
import type { Figures } from "@fulcrum/core/outcome/attainment.js";
import type { Hindsight, HindsightVerdict } from "@fulcrum/core/outcome/hindsight.js";
import type { PredictedFigures, PredictedOutcome, Subject, Verdict } from "@fulcrum/core/outcome/judge.js";
import { z } from "zod";
import { canary } from "./canary.js";
import { reason } from "./holds.js";
import { mode } from "./pools.js";
import { allocation, name, timestamp } from "./primitives.js";

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

const predictedOutcome = predictedFigures
  .extend({
    stayingShare: share.nullable().meta({
      description:
        "Of a move: the same for leaving it. The policy moved for the difference of the two; null: it said nothing of leaving it.",
    }),
  })
  .meta({ id: "PredictedOutcome" }) satisfies z.ZodType<PredictedOutcome>;

export const hindsightVerdict = z.enum(["would_have_helped", "would_not", "cannot_tell"]).meta({
  id: "HindsightVerdict",
  description:
    "would_have_helped: by the model, more requests would have been within both bounds; cannot_tell: the model's error on " +
    "what did happen is larger than the difference, or it has nothing to say.",
}) satisfies z.ZodType<HindsightVerdict>;

/** Of a move that was only recorded: the policy's model with the load that really came. */
export const hindsight = z
  .strictObject({
    verdict: hindsightVerdict,
    move: allocation.meta({ description: "What was recorded." }),
    staying: predictedFigures.nullable().meta({ description: "By the model; beside what was observed." }),
    moving: predictedFigures.nullable(),
    gainShare: z
      .number()
      .nullable()
      .meta({ description: "Of requests within both bounds: moving less staying." }),
    errorShare: share.nullable().meta({
      description: "How far the model was off on what did happen: staying less observed.",
    }),
    message: z.string(),
  })
  .meta({ id: "Hindsight" }) satisfies z.ZodType<Hindsight>;

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
    predicted: predictedOutcome.nullable(),
    observed: figures.nullable(),
    message: z.string(),
    takenBack: z.boolean().meta({ description: "The allocation before was restored because of this." }),
    hindsight: hindsight.nullable().meta({
      description: "Subject stay, once the trial is over: would the move have helped?",
    }),
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
          predictedGainShare: z
            .number()
            .nullable()
            .meta({
              description:
                "Mean of what was predicted of the move less what was predicted of leaving it, over trials that have both; " +
                "null: none has.",
            }),
          observedGainShare: z.number().nullable().meta({
            description:
              "Mean of observed less before, over the trials compared; what the load did in between is in it.",
          }),
          compared: z.int().meta({ description: "How many trials the two means are over." }),
          hindsight: z
            .strictObject({
              would_have_helped: z.int(),
              would_not: z.int(),
              cannot_tell: z.int(),
              gainShare: z.number().nullable().meta({
                description:
                  "Mean of what the moves would have gained, where the model told it; null: it never did.",
              }),
            })
            .nullable()
            .meta({ description: "Of the moves that were only recorded; null for applied ones." }),
        }),
      )
      .meta({ description: "By mode and subject; those without a trial are left out." }),
    canary: canary.nullable().meta({ description: "While the pool is in mode canary." }),
    message: z.string(),
  })
  .meta({ id: "Evidence" });

export const clearDegradedQuery = z.strictObject({ reason });

export type TrialResource = z.infer<typeof trial>;
export type Evidence = z.infer<typeof evidence>;
