/** What agents and controller say to each other. Times are epoch milliseconds of the agent's own clock. */
import { ENGINES } from "@fulcrum/core/signal/bucket-advice.js";
import { z } from "zod";
import { allocation, atMs, generatedAllocation, generation, limits, name } from "./primitives.js";
import { boundsMs, window } from "./windows.js";

export const MAX_INSTANCES_PER_REPORT = 256;
export const MAX_WINDOWS_PER_INSTANCE = 32;
export const MAX_RANKS = 64;
const MAX_ATTEMPT = 1_000;
/** Leaves room to go on from it. */
const MAX_CLAIMED_GENERATION = 2_000_000_000;
export const MAX_LONG_POLL_MS = 60_000;

const rank = z
  .int()
  .min(0)
  .max(MAX_RANKS - 1);

export const capabilities = z
  .strictObject({
    driver: z.string().min(1).max(63),
    live: z.boolean().meta({ description: "Whether a split can move without stopping the engine." }),
    limits,
    prepareMs: z
      .number()
      .min(0)
      .max(3_600_000)
      .nullable()
      .meta({ description: "Expected time to prepare a change." }),
    smCount: z.int().min(1).max(10_000).nullable(),
    engine: z.enum(ENGINES).optional().meta({
      description: "Whose metrics the windows are made of; agents before this was asked leave it out.",
    }),
  })
  .meta({ id: "Capabilities" });

export const latencyBuckets = z
  .strictObject({ ttftMs: boundsMs.nullable(), tpotMs: boundsMs.nullable() })
  .meta({
    id: "LatencyBuckets",
    description: "Bucket bounds of the engine's latency histograms; null while it has not observed any.",
  });

export const registration = z
  .strictObject({
    agent: name,
    node: z.string().min(1).max(253),
    agentVersion: z.string().min(1).max(63),
    sentAtMs: atMs,
    instances: z
      .array(
        z.strictObject({
          instance: name,
          pool: name,
          ranks: z
            .array(rank)
            .min(1)
            .max(MAX_RANKS)
            .refine((ranks) => new Set(ranks).size === ranks.length, "must not name a rank twice"),
          rankCount: z
            .int()
            .min(1)
            .max(MAX_RANKS)
            .meta({ description: "Ranks of the whole instance, on all nodes." }),
          capabilities,
          generation: generation.max(MAX_CLAIMED_GENERATION).default(0).meta({
            description: "The highest generation that the agent has seen for it; it refuses lower ones.",
          }),
          running: allocation.meta({ description: "What the engine runs now, read back." }),
          buckets: latencyBuckets.optional(),
          barrier: z.boolean().optional().meta({
            description:
              "Whether the agent waits with a ready change for the word of the whole group (`commit`); false when absent.",
          }),
        }),
      )
      .max(MAX_INSTANCES_PER_REPORT),
  })
  .meta({ id: "Registration" });

const iterationCount = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

/** For each role the iteration at whose end it switches; the same numbers on every rank of a group. */
export const switchAt = z
  .strictObject({ prefill: iterationCount, decode: iterationCount })
  .meta({ id: "SwitchAt" });

/** How far the workers of a rank are; the rates are means over the last seconds. */
export const iterationProgress = z
  .strictObject({
    prefill: iterationCount,
    decode: iterationCount,
    prefillPerS: z.number().min(0).max(1_000_000),
    decodePerS: z.number().min(0).max(1_000_000),
  })
  .meta({ id: "IterationProgress" });

/** W3C Trace Context, version 00. */
export const traceparent = z
  .string()
  .regex(/^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/, "must be a W3C traceparent of version 00")
  .meta({ id: "Traceparent" });

/**
 * The header by which an agent tells what it understands beyond the first version, comma separated: a strict reader would
 * refuse an answer with fields that it does not know.
 */
export const FEATURES_HEADER = "fulcrum-features";
/** It takes `traceparent` in assignments. */
export const TRACEPARENT_FEATURE = "traceparent";

export const assignment = z
  .strictObject({
    instance: name,
    generation,
    attempt: z
      .int()
      .min(1)
      .max(MAX_ATTEMPT)
      .meta({ description: "Grows when the same generation is offered again." }),
    allocation,
    reason: z.string(),
    issuedAtMs: atMs,
    commit: z
      .strictObject({ switchAt: switchAt.nullable() })
      .nullable()
      .optional()
      .meta({
        description:
          "Of a group under several agents. null: prepare and wait. Set: switch, at the end of these iterations or, " +
          "when switchAt is null, at the next boundary. Absent: switch when ready.",
      }),
    traceparent: traceparent.optional().meta({
      description:
        "The trace that the change belongs to; for agents that send `fulcrum-features: traceparent`. They send it back as " +
        "the header `traceparent` of its acknowledgements.",
    }),
  })
  .meta({
    id: "Assignment",
    description: "What an instance should run. Generation 0 is what it ran when it was first seen.",
  });

export const rejection = z
  .strictObject({
    instance: z.string(),
    code: z.string(),
    field: z.string().nullable(),
    detail: z.string(),
  })
  .meta({ id: "Rejection" });

export const registrationAnswer = z
  .strictObject({
    instances: z.array(
      z.strictObject({
        instance: name,
        lastSeq: z.int(),
        assignment,
        warnings: z.array(z.string()).optional().meta({
          description: "What the operator should set, in sentences; only for agents that sent `buckets`.",
        }),
      }),
    ),
    rejected: z.array(rejection),
    clockSkewMs: z.number(),
  })
  .meta({ id: "RegistrationAnswer" });

/** One instance's part of a report. Checked on its own: a bad one does not cost the others their windows. */
export const instanceReport = z
  .strictObject({
    instance: name,
    windows: z.array(window).max(MAX_WINDOWS_PER_INSTANCE),
    observed: generatedAllocation.nullable().meta({
      description: "Delivered split, quota and generation, read back; null when the read-back failed.",
    }),
    conditions: z
      .array(z.string().regex(/^[A-Z][A-Za-z]{1,62}$/))
      .max(16)
      .default([]),
  })
  .meta({ id: "InstanceReport" });

export const report = z
  .strictObject({
    agent: name,
    sentAtMs: atMs,
    instances: z.array(instanceReport).max(MAX_INSTANCES_PER_REPORT),
  })
  .meta({ id: "Report" });

export const reportAnswer = z
  .strictObject({
    accepted: z.array(z.strictObject({ instance: name, lastSeq: z.int() })),
    rejected: z.array(rejection),
    assignments: z.array(assignment).meta({
      description: "Every instance of the agent whose assignment it has not yet acknowledged as verified.",
    }),
    clockSkewMs: z.number(),
  })
  .meta({ id: "ReportAnswer" });

export const assignmentsQuery = z.strictObject({
  agent: name,
  waitMs: z.coerce.number().int().min(0).max(MAX_LONG_POLL_MS).default(0),
});

export const assignmentsAnswer = z
  .strictObject({ assignments: z.array(assignment) })
  .meta({ id: "AssignmentsAnswer" });

export const rankStep = z.enum(["preparing", "ready", "armed", "switched", "verified", "failed"]).meta({
  id: "RankStep",
  description: "armed: the engine has taken the agreed iterations and switches there by itself.",
});

export const ack = z
  .strictObject({
    instance: name,
    rank,
    generation,
    attempt: z.int().min(1).max(MAX_ATTEMPT),
    step: rankStep,
    atMs,
    delivered: allocation
      .nullable()
      .meta({ description: "What was really applied, read back; asked and delivered are two fields." }),
    iterations: iterationProgress
      .nullable()
      .optional()
      .meta({ description: "With `ready`, from engines that count them." }),
    failure: z
      .strictObject({ code: z.string().max(63), message: z.string().max(1_000), retryable: z.boolean() })
      .nullable(),
  })
  .meta({ id: "Ack" });

export const ackRequest = z
  .strictObject({ agent: name, sentAtMs: atMs, acks: z.array(ack).min(1).max(1_024) })
  .meta({ id: "AckRequest" });

export const ackOutcome = z.enum(["applied", "repeat", "stale", "unknown"]).meta({
  id: "AckOutcome",
  description:
    "stale: of an older generation or attempt, or of a reconfiguration that has ended; unknown: no such instance or rank.",
});

export const ackAnswer = z
  .strictObject({
    results: z.array(
      z.strictObject({ instance: z.string(), rank: z.int(), generation, outcome: ackOutcome }),
    ),
  })
  .meta({ id: "AckAnswer" });

export type Capabilities = z.infer<typeof capabilities>;
export type Registration = z.infer<typeof registration>;
export type RegistrationAnswer = z.infer<typeof registrationAnswer>;
export type SwitchAt = z.infer<typeof switchAt>;
export type IterationProgress = z.infer<typeof iterationProgress>;
export type Assignment = z.infer<typeof assignment>;
export type Rejection = z.infer<typeof rejection>;
export type InstanceReport = z.infer<typeof instanceReport>;
export type Report = z.infer<typeof report>;
export type ReportAnswer = z.infer<typeof reportAnswer>;
export type AssignmentsAnswer = z.infer<typeof assignmentsAnswer>;
export type RankStep = z.infer<typeof rankStep>;
export type Ack = z.infer<typeof ack>;
export type AckRequest = z.infer<typeof ackRequest>;
export type AckOutcome = z.infer<typeof ackOutcome>;
export type AckAnswer = z.infer<typeof ackAnswer>;
