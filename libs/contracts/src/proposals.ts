/** Proposals: moves of a pool in mode `recommend` that wait for people. */
import { z } from "zod";
import {
  allocation,
  generatedAllocation,
  generation,
  name,
  page,
  timestamp,
  uuid,
  words,
} from "./primitives.js";

export const proposalState = z
  .enum(["open", "approved", "rejected", "expired", "superseded", "outdated"])
  .meta({
    id: "ProposalState",
    description:
      "superseded: a newer decision says otherwise; outdated: the instance or its pool has changed since it was made.",
  });

export const proposal = z
  .strictObject({
    id: uuid,
    decision: uuid,
    pool: name,
    instance: name,
    basedOnGeneration: generation,
    from: generatedAllocation,
    to: allocation,
    reason: z.string(),
    message: z.string(),
    predicted: z.strictObject({ ttftMs: z.number().nullable(), tpotMs: z.number().nullable() }).nullable(),
    state: proposalState,
    required: z.int().min(1).max(2).meta({
      description:
        "How many keys must approve: as the pool asked when it was made or asks now, whichever is more.",
    }),
    votes: z.array(
      z.strictObject({
        actor: z.string(),
        keyId: uuid,
        verdict: z.enum(["approve", "reject"]),
        comment: z.string().nullable(),
        at: timestamp,
        counts: z.boolean().meta({ description: "false: its key was revoked while the proposal was open." }),
      }),
    ),
    createdAt: timestamp,
    expiresAt: timestamp,
    endedAt: timestamp.nullable(),
    generation: generation.nullable().meta({ description: "What it made once approved." }),
  })
  .meta({ id: "Proposal" });

export const proposalQuery = z.strictObject({
  ...page,
  state: proposalState.optional(),
  pool: name.optional(),
  instance: name.optional(),
});

export const approveInput = z
  .strictObject({ comment: words(0, 500).nullable().default(null) })
  .meta({ id: "ApproveInput" });

export const rejectInput = z.strictObject({ reason: words(1, 500) }).meta({ id: "RejectInput" });

/** How a pool in mode `recommend` asks. */
export const approval = z
  .strictObject({
    required: z.int().min(1).max(2).meta({ description: "How many different keys must approve." }),
    expireMs: z
      .int()
      .min(10_000)
      .max(86_400_000)
      .meta({ description: "A proposal that nobody approves lapses after this." }),
  })
  .meta({ id: "Approval" });

export const DEFAULT_APPROVAL: Approval = { required: 1, expireMs: 900_000 };

export type Approval = z.infer<typeof approval>;
export type Proposal = z.infer<typeof proposal>;
export type ProposalState = z.infer<typeof proposalState>;
