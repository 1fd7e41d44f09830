/** Read models of the admin API: instances, agents, decisions, reconfigurations, audit, keys. */
import { z } from "zod";
import { capabilities, rankStep } from "./agent-api.js";
import { trial } from "./outcomes.js";
import { proposal } from "./proposals.js";
import { mode } from "./pools.js";
import {
  allocation,
  generatedAllocation,
  generation,
  line,
  name,
  page,
  timestamp,
  uuid,
} from "./primitives.js";
import { window } from "./windows.js";

export const reconfigurationState = z
  .enum(["offered", "preparing", "ready", "switched", "verified", "failed", "rolled_back", "superseded"])
  .meta({ id: "ReconfigurationState" });

export const instance = z
  .strictObject({
    id: uuid,
    name,
    pool: name,
    mode,
    rankCount: z.int(),
    agents: z.array(name),
    capabilities,
    desired: generatedAllocation.meta({ description: "What was asked." }),
    observed: generatedAllocation.nullable().meta({ description: "What the agent read back." }),
    observedAt: timestamp.nullable(),
    lastGood: generatedAllocation,
    pinnedUntil: timestamp.nullable(),
    pinned: z.boolean(),
    conditions: z.array(z.string()),
    bucketWarnings: z.array(z.string()).meta({
      description:
        "One sentence per SLO bound that lies inside a bucket of the engine's histograms: the error, and what to set.",
    }),
    lastWindowAt: timestamp.nullable(),
    lastDecision: z
      .strictObject({
        id: uuid,
        at: timestamp,
        kind: z.enum(["move", "hold"]),
        reason: z.string(),
        message: z.string(),
      })
      .nullable(),
    rollout: reconfigurationState.nullable(),
    flaps: z
      .strictObject({ used: z.int(), budget: z.int(), windowMs: z.int() })
      .meta({ description: "Changes of direction within the window, and how many are allowed." }),
    createdAt: timestamp,
  })
  .meta({ id: "Instance" });

export const storedWindow = z.strictObject({ receivedAt: timestamp, window }).meta({ id: "StoredWindow" });

export const agent = z
  .strictObject({
    id: uuid,
    name,
    node: z.string(),
    agentVersion: z.string(),
    instances: z.array(name),
    lastSeenAt: timestamp,
    clockSkewMs: z.number(),
    conditions: z.array(z.string()),
    createdAt: timestamp,
  })
  .meta({ id: "Agent" });

export const decisionSummary = z
  .strictObject({
    id: uuid,
    at: timestamp,
    pool: name,
    instance: name,
    kind: z.enum(["move", "hold"]),
    reason: z.string(),
    message: z.string(),
    mode,
    outcome: z.enum(["applied", "recorded", "lost_race", "held", "outdated"]).meta({
      description:
        "applied: it is the new allocation; recorded: a hold, or nothing was to be changed (modes observe and recommend, " +
        "and the rest of a canary); lost_race: another change of the instance was first; held: somebody paused or pinned " +
        "at that moment; outdated: its pool was changed at that moment.",
    }),
    basedOnGeneration: generation,
    generation: generation.nullable().meta({ description: "The generation it made; null unless applied." }),
    allocation,
    predicted: z.strictObject({ ttftMs: z.number().nullable(), tpotMs: z.number().nullable() }).nullable(),
    policy: z.strictObject({ name: z.string(), version: z.int() }),
  })
  .meta({ id: "DecisionSummary" });

/** `snapshot`, `policyConfig`, `guardConfig` and `decidedAtMs` are what decide() was given, `decision` what it answered. */
export const decision = decisionSummary
  .extend({
    decidedAtMs: z.number(),
    snapshot: z.record(z.string(), z.unknown()),
    policyConfig: z.record(z.string(), z.unknown()),
    guardConfig: z.record(z.string(), z.unknown()),
    decision: z.record(z.string(), z.unknown()),
    stoppedBy: z.string().nullable().meta({
      description:
        "Of a move that was to be made and was not: what stopped it at that moment, in a sentence.",
    }),
    proposal: proposal.nullable().meta({
      description: "The one that it made, or that said the same as it and was open then.",
    }),
    reconfiguration: uuid.nullable(),
    trial: trial.nullable().meta({ description: "How it turned out; null: there was nothing to try." }),
  })
  .meta({ id: "Decision" });

export const decisionQuery = z.strictObject({
  ...page,
  pool: name.optional(),
  instance: name.optional(),
  kind: z.enum(["move", "hold"]).optional(),
  reason: z.string().max(63).optional(),
  from: timestamp.optional(),
  to: timestamp.optional(),
});

export const reconfigurationSummary = z
  .strictObject({
    id: uuid,
    instance: name,
    pool: name,
    decision: uuid.nullable(),
    kind: z.enum(["decision", "rollback", "adoption", "override", "manual_rollback"]).meta({
      description:
        "rollback: taken back by the controller; adoption: the controller takes an instance over at the generation " +
        "that its agent has reached; override, manual_rollback: a person set it, or went back to an earlier one.",
    }),
    state: reconfigurationState,
    generation,
    attempt: z.int(),
    from: generatedAllocation,
    to: allocation,
    failure: z.string().nullable(),
    createdAt: timestamp,
    endedAt: timestamp.nullable(),
    durationMs: z.number().nullable(),
  })
  .meta({ id: "ReconfigurationSummary" });

export const reconfiguration = reconfigurationSummary
  .extend({
    steps: z.array(
      z.strictObject({
        at: timestamp,
        rank: z.int().nullable(),
        attempt: z.int(),
        step: z.string(),
        delivered: allocation.nullable(),
        detail: z.string().nullable(),
      }),
    ),
    ranks: z.array(z.strictObject({ rank: z.int(), step: rankStep.nullable() })),
  })
  .meta({ id: "Reconfiguration" });

export const reconfigurationQuery = z.strictObject({
  ...page,
  pool: name.optional(),
  instance: name.optional(),
  state: reconfigurationState.optional(),
});

/**
 * Wide enough for whatever somebody with the database's password can put there: a row that no controller would write must
 * still come out, so that `fulcrum audit verify` can name it.
 */
export const auditEntry = z
  .strictObject({
    seq: z
      .int()
      .meta({ description: "From 1; nearest to it, where `stored` tells one that JSON cannot hold." }),
    at: z.string().meta({
      description:
        "UTC, with milliseconds; what Postgres calls it, where somebody put there what is no such instant.",
    }),
    actor: z.string(),
    keyId: z.string().nullable(),
    address: z.string().nullable(),
    action: z.string(),
    subject: z.string(),
    before: z.unknown(),
    after: z.unknown(),
    prevHash: z.string(),
    hash: z.string(),
    stored: z
      .record(z.string(), z.string().nullable())
      .optional()
      .meta({
        description:
          "Columns that hold what no controller writes, as they stand in the database, each cut to 200 characters: JSON with " +
          "a key twice or other spaces, a null, a number beyond 2^53. Such a row was changed.",
      }),
  })
  .meta({ id: "AuditEntry" });

/** What to keep elsewhere: whoever has it can show later that nothing up to `seq` was changed, removed or cut off. */
export const auditCheckpoint = z
  .strictObject({ seq: z.int().min(0), hash: z.string(), at: timestamp })
  .meta({ id: "AuditCheckpoint" });

export const auditQuery = z.strictObject({
  ...page,
  order: z.enum(["desc", "asc"]).default("desc").meta({ description: "Newest first, or oldest first." }),
  action: z.string().max(63).optional(),
  subject: z.string().max(200).optional(),
  actor: z.string().max(200).optional(),
});

export const role = z.enum(["viewer", "operator", "admin", "agent"]).meta({
  id: "Role",
  description:
    "viewer reads; operator also changes pools and SLOs, holds, overrides and approves; admin also manages keys and webhooks; agent speaks the agent API only.",
});

export const keyInput = z
  .strictObject({
    name: line(100),
    role,
    agent: name.optional().meta({ description: "Binds an agent key to one agent." }),
  })
  .meta({ id: "KeyInput" });

export const apiKey = z
  .strictObject({
    id: uuid,
    name: z.string(),
    role,
    agent: name.nullable(),
    createdAt: timestamp,
    createdBy: z.string(),
    lastUsedAt: timestamp.nullable(),
    revokedAt: timestamp.nullable(),
  })
  .meta({ id: "ApiKey" });

export const createdKey = apiKey
  .extend({ key: z.string().meta({ description: "Shown once." }) })
  .meta({ id: "CreatedKey" });

export type Role = z.infer<typeof role>;
export type Instance = z.infer<typeof instance>;
export type AgentResource = z.infer<typeof agent>;
export type DecisionSummary = z.infer<typeof decisionSummary>;
export type DecisionResource = z.infer<typeof decision>;
export type ReconfigurationState = z.infer<typeof reconfigurationState>;
export type ReconfigurationSummary = z.infer<typeof reconfigurationSummary>;
export type ReconfigurationResource = z.infer<typeof reconfiguration>;
export type AuditEntry = z.infer<typeof auditEntry>;
export type AuditCheckpoint = z.infer<typeof auditCheckpoint>;
export type ApiKey = z.infer<typeof apiKey>;
export type CreatedKey = z.infer<typeof createdKey>;
