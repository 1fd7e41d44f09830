/**
 * What engine-sim's workers say to their resident (docs/engine-sim-workers.md): newline-delimited JSON over a Unix
 * socket, one request at a time on a connection, answered in order. The engine's own affair: no agent speaks it.
 */
import { z } from "zod";
import { type WorkerRole, workerRole } from "@fulcrum/contracts/worker-protocol.js";

/** A full pool's block list is some 200 KB; nothing is longer. */
export const MAX_RESIDENT_LINE_CHARS = 16 * 1024 * 1024;

const count = z.int().min(0);
const turn = z.int().min(1);
const blocks = z.array(count);
/** How long the worker waited for a core since it posted, or since its turn came; null: not known. */
const coreWaitMs = z.number().min(0).nullable();

export const residentRequest = z.discriminatedUnion("op", [
  z.object({
    op: z.literal("attach"),
    worker: z.string().min(1).max(128),
    role: workerRole,
    generation: count,
    smPct: z.number().gt(0).max(100),
  }),
  /** The turn has come. `slot`: the worker's in the block pool; `sawAtMs`: when it saw that, by the monotonic clock. */
  z.object({ op: z.literal("begin"), turn, slot: count, sawAtMs: z.number().min(0), coreWaitMs }),
  /** All that the owner in slot `from` held is the worker's now; `blocks` null: as many as `begin` had said. */
  z.object({ op: z.literal("inherited"), turn, from: count, blocks: blocks.nullable() }),
  z.object({ op: z.literal("take"), turn, coreWaitMs }),
  /** It has made the turn `turn`, which is another's. */
  z.object({ op: z.literal("passed"), turn, coreWaitMs }),
  /** Decode, with a full pool: sequence `id` of the batch gives way. */
  z.object({ op: z.literal("preempt"), turn, batch: count, id: count }),
  z.object({
    op: z.literal("post"),
    turn,
    batch: count,
    /** Of the GPU's SMs, 0..1, while it ran. */
    share: z.number().min(0).max(1),
    /** What ran: its token (null: a prefill chunk that ends none) and the blocks that it was given for it. */
    results: z.array(z.object({ id: count, token: count.nullable(), blocks })),
    /** Decode: sequences whose blocks it took over from prefill. */
    joined: z.array(count),
  }),
  /** Of the window since it was begun anew; tests and benches. */
  z.object({ op: z.literal("measure"), anew: z.boolean() }),
  /** No request arrives any more. */
  z.object({ op: z.literal("stop_load") }),
]);
export type ResidentRequest = z.infer<typeof residentRequest>;

/** Numbers of blocks in the pool. */
export type Blocks = readonly number[];

export interface AttachAnswer {
  readonly ok: true;
  /** The segment of the block pool. */
  readonly pool: string;
  /** --profile of the resident, a bundled name or an absolute path. */
  readonly profile: string;
  /** Engine seconds per second. */
  readonly speed: number;
}

/** An owner of the role, alive or dead, that holds blocks. */
export interface Inheritance {
  readonly slot: number;
  /** What requests have there; null after a worker that did not hand over: then each block must be looked at. */
  readonly blocks: number | null;
}

export interface BeginAnswer {
  readonly ok: true;
  /** The last iteration of the role, and the tokens that it has made. */
  readonly iteration: number;
  readonly tokens: number;
  readonly inherit: readonly Inheritance[];
  /** To be run once it holds all that is named there; null: nothing to run, or not known what there is. */
  readonly first: Batch | null;
}

export interface FreeAnswer {
  readonly ok: true;
  /** Blocks that the worker holds and that nobody needs. */
  readonly free: Blocks;
}

export interface InheritedAnswer extends FreeAnswer {
  /** The batch that came with the answer to `begin` must not be run: what its requests hold was another than they thought. */
  readonly isBatchVoid: boolean;
}

/** Part of a prompt, from token `from` on. */
export interface PrefillPart {
  readonly id: number;
  readonly from: number;
  readonly tokens: number;
  /** Blocks to be taken before it runs; 0 where the prompt has them already. */
  readonly blocks: number;
  /** The token that it ends with; null where the prompt goes on after it. */
  readonly token: number | null;
}

export interface DecodePart {
  readonly id: number;
  /** Tokens whose KV is held once the iteration has written its own. */
  readonly context: number;
  readonly blocks: number;
  readonly token: number;
  /** To be taken over from prefill first. */
  readonly join: { readonly slot: number; readonly blocks: Blocks } | null;
}

export interface Batch {
  readonly ok: true;
  readonly batch: number;
  readonly iteration: number;
  /** The share under which the other role runs an iteration just now; null: it runs none. */
  readonly otherSmPct: number | null;
  readonly prefill: readonly PrefillPart[];
  readonly decode: readonly DecodePart[];
}

/** Nothing to do for IDLE_MS: that was an iteration too, with no batch. */
export interface IdleAnswer {
  readonly ok: true;
  readonly batch: null;
  readonly iteration: number;
}

export interface PostAnswer extends FreeAnswer {
  readonly iteration: number;
  readonly tokens: number;
}

/** `stale_turn`: the role's turn is another; `bad_request`; `no_such_batch`. */
export interface ResidentRefusal {
  readonly ok: false;
  readonly code: "bad_request" | "stale_turn" | "no_such_batch";
  readonly message: string;
}

/** In which a role had something to run and ran nothing; engine time. */
export interface Pause {
  readonly ms: number;
  /** Of it, that the processes in question could have run and waited for a core; null where the system does not say. */
  readonly coreWaitMs: number | null;
}

/** A turn that began, by a hand-over or after a holder that died, and its first iteration. Engine time. */
export interface HandOver {
  readonly role: WorkerRole;
  readonly turn: number;
  /** From the end of the last iteration under the turn before to the first batch; 0 where nothing waited. */
  readonly pauseMs: number;
  /** Of it, until the new worker saw its turn. */
  readonly turnMs: number;
  /** Of it, that the old worker, the new one (after it saw its turn) or the resident waited for a core. */
  readonly coreWaitMs: number | null;
  readonly iterationMs: number;
  /** Largest, of the tokens that it made: from the token before, the pause included. */
  readonly gapMs: number;
  /** The role's longest pause between the turn before this one's beginning and this one's. */
  readonly longestBefore: Pause;
}

/** Durations in milliseconds of engine time, since the window began. */
export interface Measure {
  readonly ok: true;
  readonly windowMs: number;
  readonly tokens: number;
  /** Between two tokens of a request that was not preempted in between: largest, and by rank. */
  readonly largestGapMs: number;
  readonly gapMs: { readonly p50: number; readonly p99: number; readonly p9999: number };
  /** In which the role had something to run and ran nothing. */
  readonly largestPauseMs: { readonly prefill: number; readonly decode: number };
  readonly largestIterationMs: { readonly prefill: number; readonly decode: number };
  /** Rounded down. */
  readonly medianIterationMs: { readonly prefill: number; readonly decode: number };
  /** The last 1,000. */
  readonly handOvers: readonly HandOver[];
  /** Since the start. */
  readonly arrived: number;
  readonly finished: number;
  readonly refused: number;
  readonly preempted: number;
  readonly inside: number;
  readonly repeatedTokens: number;
  readonly lostTokens: number;
  readonly refusedResults: number;
}
