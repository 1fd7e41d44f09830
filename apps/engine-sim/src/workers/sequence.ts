import { createJob, type Job, type SimRequest } from "@fulcrum/simulator/job.js";

/** A request in the resident's table, and the KV blocks that hold it. */
export interface Sequence {
  readonly job: Job;
  /** The pool's owner slot that holds `blocks`; null without any. */
  slot: number | null;
  blocks: number[];
  /** Those of `blocks` that decode's owner holds already, from a worker that died while it took them over. */
  readonly inherited: Set<number>;
  /** Since its last token: the time to its next is no gap of a running request. */
  preempted: boolean;
}

export function createSequence(request: SimRequest): Sequence {
  return { job: createJob(request), slot: null, blocks: [], inherited: new Set(), preempted: false };
}

/** It lost its KV: prefill computes the prompt and what was generated again. */
export function resetSequence(sequence: Sequence): void {
  const { job } = sequence;
  job.prefillTokens = job.request.promptTokens + job.generatedTokens;
  job.prefilledTokens = 0;
  sequence.slot = null;
  sequence.blocks = [];
  sequence.inherited.clear();
  sequence.preempted = true;
}

/** Tokens whose KV is held once a decode iteration has written its own. */
export function contextOf({ job }: Sequence): number {
  return job.request.promptTokens + job.generatedTokens;
}
