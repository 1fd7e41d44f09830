import type {
  FeedbackParams,
  GuardConfig,
  PhasePrior,
  PolicyConfig,
  SearchParams,
  SearchPrior,
  SemiPdParams,
  SensitivityGrowth,
  StaticParams,
} from "@fulcrum/core/decision.js";
import type { PolicyName } from "@fulcrum/core/nouns.js";
import { SEARCH_PARTS } from "@fulcrum/core/decision.js";
import { z } from "zod";
import { approval } from "./proposals.js";
import { allocation, limits, line, name, sloTarget, timestamp, uuid } from "./primitives.js";

export const mode = z.enum(["observe", "recommend", "canary", "enforce"]).meta({
  id: "Mode",
  description:
    "observe: decide and change nothing; recommend: a person approves; canary: apply on a share of the instances and " +
    "change nothing on the rest; enforce: apply.",
});

/** How a pool in mode `canary` is parted. */
export const canarySettings = z
  .strictObject({
    share: z
      .number()
      .min(0.01)
      .max(0.5)
      .meta({
        description:
          "Of the instances; at least one of two or more. Which ones is told by a hash of their ids, and changes for none " +
          "that stays when others come and go, but where the last one of either part went.",
      }),
  })
  .meta({ id: "CanarySettings" });

export const DEFAULT_CANARY: CanarySettings = { share: 0.2 };

const staticParams = z.strictObject({ allocation }) satisfies z.ZodType<StaticParams>;

const feedbackParams = z.strictObject({
  stepPct: z.number().min(1).max(50),
  maxSteps: z.int().min(1).max(50),
  floorPct: z.number().min(1).max(100),
  bothMissed: z.enum(["hold", "open", "worst-first"]),
  minBenefitShare: z.number().min(0).max(1),
  moveKvQuota: z.boolean(),
}) satisfies z.ZodType<FeedbackParams>;

const semiPdParams = z.strictObject({
  requestsPerDecision: z.int().min(1).max(100_000),
  stepPct: z.number().min(1).max(50),
  maxSteps: z.int().min(1).max(50),
  floorPct: z.number().min(1).max(100),
  tpotMargin: z.number().min(1).max(10),
}) satisfies z.ZodType<SemiPdParams>;

/** zod's own tuple is one that could be changed. */
const kernelMs: z.ZodType<PhasePrior["kernelMs"], PhasePrior["kernelMs"]> = z.tuple([
  z.number().min(0.001).max(10_000),
  z.number().min(0).max(1_000),
  z.number().min(0).max(1),
]);

/** The bounds are those that the policy sets. */
const sensitivityGrowth = z
  .strictObject({
    small: z.number().min(1).max(1_000_000),
    large: z.number().min(1).max(1_000_000),
    gain: z.number().min(-1.2).max(1.2),
  })
  .refine(({ small, large }) => large > small, { path: ["large"], error: "must be above small" })
  .meta({
    id: "SensitivityGrowth",
    description:
      "Large iterations suffer more from fewer SMs. From small to large (prompt tokens of a prefill iteration, " +
      "sequences of a decode one; large above small) the sensitivity grows by gain, evenly in the logarithm of " +
      "the size, and is the phase's sensitivity in the middle.",
  }) satisfies z.ZodType<SensitivityGrowth>;

const phasePrior = z
  .strictObject({
    kernelMs,
    engineMs: z.number().min(0).max(10_000),
    sensitivity: z.number().min(0.02).max(1.2),
    growth: sensitivityGrowth.optional(),
  })
  .meta({
    id: "PhasePrior",
    description:
      "Step time at all SMs, alone on the GPU: kernelMs is constant, per prompt token and per squared prompt " +
      "token for prefill; constant, per sequence and per context token for decode. engineMs is host time per " +
      "step. At a share f of the SMs the kernel takes 1 + sensitivity * (1/f - 1) times as long; growth says how " +
      "sensitivity grows with the iteration, and may be left out.",
  }) satisfies z.ZodType<PhasePrior>;

const searchPrior = z.strictObject({
  prefill: phasePrior,
  decode: phasePrior,
}) satisfies z.ZodType<SearchPrior>;

const searchParams = z.strictObject({
  minGainShare: z.number().min(0).max(1),
  moveKvQuota: z.boolean(),
  prior: searchPrior.nullable(),
  without: z
    .array(z.enum(SEARCH_PARTS))
    .max(SEARCH_PARTS.length)
    .readonly()
    .meta({
      description: "Parts of the policy to leave out: to measure what each is worth, not to serve with.",
    })
    .optional(),
}) satisfies z.ZodType<SearchParams>;

export const policy = z
  .discriminatedUnion("name", [
    z.strictObject({ name: z.literal("static"), params: staticParams }),
    z.strictObject({ name: z.literal("feedback"), params: feedbackParams }),
    z.strictObject({ name: z.literal("semi-pd"), params: semiPdParams }),
    z.strictObject({ name: z.literal("search"), params: searchParams }),
  ])
  .meta({ id: "Policy" }) satisfies z.ZodType<PolicyConfig>;

/** As a person writes it: but for `static`, params may be left out or partial, and the defaults fill in. */
export const policyInput = z
  .discriminatedUnion("name", [
    z.strictObject({ name: z.literal("static"), params: staticParams }),
    z.strictObject({ name: z.literal("feedback"), params: feedbackParams.partial().optional() }),
    z.strictObject({ name: z.literal("semi-pd"), params: semiPdParams.partial().optional() }),
    z.strictObject({ name: z.literal("search"), params: searchParams.partial().optional() }),
  ])
  .meta({ id: "PolicyInput" });

/** Every policy there is, and the one of a pool that names none. */
export const POLICY_NAMES: readonly PolicyName[] = ["search", "feedback", "semi-pd", "static"];
export const DEFAULT_POLICY = "search" satisfies PolicyName;

export const guards = z
  .strictObject({
    maxStepPct: z.number().min(1).max(99),
    dwellMs: z.int().min(0).max(86_400_000),
    flapBudget: z.int().min(0).max(60),
    flapWindowMs: z.int().min(1_000).max(86_400_000),
    minSamples: z.int().min(1).max(100_000),
    staleAfterMs: z.int().min(1_000).max(3_600_000),
    stabilityMargin: z.number().min(1).max(5),
  })
  .meta({ id: "Guards" }) satisfies z.ZodType<GuardConfig>;

export const DEFAULT_BUDGET_DAYS = 28;

const settings = {
  model: line(200),
  mode,
  policy: policyInput,
  guards: guards.partial(),
  limits: limits.partial().meta({
    description:
      "Narrows what the drivers can do. A change replaces them all, so that one can be taken away.",
  }),
  controlIntervalMs: z
    .int()
    .min(200)
    .max(600_000)
    .meta({ description: "How often an instance is decided on." }),
  lookbackMs: z
    .int()
    .min(1_000)
    .max(600_000)
    .meta({ description: "How far back windows are folded into one signal." }),
  frozen: z.boolean().meta({ description: "A change freeze: decide nothing that moves." }),
  autoRollback: z.boolean().meta({
    description: "Mode enforce: take a change back that made it worse; after three in a row hold still.",
  }),
  budgetDays: z.int().min(1).max(90).meta({
    description: "Over how many days the promise (slo.attainmentShare) is counted as an error budget.",
  }),
  approval: approval.partial().meta({ description: "Mode recommend: how many must approve, and by when." }),
  canary: canarySettings.partial().meta({ description: "Mode canary: on which share of the instances." }),
};

export const poolInput = z
  .strictObject({
    name,
    model: settings.model,
    slo: sloTarget,
    policy: settings.policy.default({ name: DEFAULT_POLICY }),
    mode: settings.mode.default("observe"),
    guards: settings.guards.default({}),
    limits: settings.limits.default({}),
    controlIntervalMs: settings.controlIntervalMs.default(5_000),
    lookbackMs: settings.lookbackMs.default(30_000),
    frozen: settings.frozen.default(false),
    autoRollback: settings.autoRollback.default(true),
    budgetDays: settings.budgetDays.default(DEFAULT_BUDGET_DAYS),
    approval: settings.approval.default({}),
    canary: settings.canary.default({}),
  })
  .meta({ id: "PoolInput" });

/** Only what is named changes. The SLO has a route of its own too, for whoever changes nothing else. */
export const poolPatch = z
  .strictObject({
    slo: sloTarget.optional(),
    model: settings.model.optional(),
    mode: settings.mode.optional(),
    policy: settings.policy.optional(),
    guards: settings.guards.optional(),
    limits: settings.limits.optional(),
    controlIntervalMs: settings.controlIntervalMs.optional(),
    lookbackMs: settings.lookbackMs.optional(),
    frozen: settings.frozen.optional(),
    autoRollback: settings.autoRollback.optional(),
    budgetDays: settings.budgetDays.optional(),
    approval: settings.approval.optional(),
    canary: settings.canary.optional(),
  })
  .meta({ id: "PoolPatch" });

export const sloVersion = z
  .strictObject({
    pool: name,
    version: z.int().min(1),
    slo: sloTarget,
    createdAt: timestamp,
    createdBy: z.string(),
  })
  .meta({ id: "SloVersion" });

export const pool = z
  .strictObject({
    id: uuid,
    name,
    model: z.string(),
    mode,
    policy,
    guards,
    limits: limits.partial(),
    controlIntervalMs: z.int(),
    lookbackMs: z.int(),
    frozen: z.boolean(),
    autoRollback: z.boolean(),
    budgetDays: z.int(),
    approval,
    canary: canarySettings,
    slo: sloTarget,
    sloVersion: z.int(),
    version: z.int().meta({ description: "Grows with every change; its ETag." }),
    instances: z.int(),
    createdAt: timestamp,
    updatedAt: timestamp,
  })
  .meta({ id: "Pool" });

export type CanarySettings = z.infer<typeof canarySettings>;
export type PoolInput = z.infer<typeof poolInput>;
export type PoolPatch = z.infer<typeof poolPatch>;
export type Pool = z.infer<typeof pool>;
export type SloVersion = z.infer<typeof sloVersion>;
