import type { Job, SimEvent } from "./job.js";

/** Events that have not been handed out. It also keeps the times on jobs that later events are computed from. */
export class EventLog {
  #events: SimEvent[] = [];

  add(event: SimEvent): void {
    this.#events.push(event);
  }

  /** Hands out everything since the last call. */
  take(): SimEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** The prefill of `job` is complete and gave a token: its first or, after a preemption, a further one. */
  prefilled(job: Job, nowMs: number): void {
    job.generatedTokens += 1;
    if (job.firstTokenAtMs !== null) {
      this.decoded([job], nowMs);
      return;
    }
    const { id, arrivalMs, promptTokens } = job.request;
    job.firstTokenAtMs = nowMs;
    job.lastTokenAtMs = nowMs;
    const ttftMs = nowMs - arrivalMs;
    const queuedMs = (job.admittedAtMs ?? arrivalMs) - arrivalMs;
    this.add({ type: "first_token", atMs: nowMs, id, promptTokens, ttftMs, queuedMs });
  }

  /** Each job has a further token. One event for all of an instant; jobs that last had one together share a group. */
  decoded(jobs: readonly Job[], nowMs: number): void {
    const counts = new Map<number, number>();
    for (const job of jobs) {
      counts.set(job.lastTokenAtMs, (counts.get(job.lastTokenAtMs) ?? 0) + 1);
      job.lastTokenAtMs = nowMs;
    }
    const groups = Array.from(counts, ([lastMs, count]) => ({ itlMs: nowMs - lastMs, count }));
    this.add({ type: "tokens", atMs: nowMs, groups });
  }

  finished(job: Job, nowMs: number): void {
    const { id, arrivalMs, promptTokens, outputTokens } = job.request;
    const firstMs = job.firstTokenAtMs ?? nowMs;
    this.add({
      type: "finished",
      atMs: nowMs,
      id,
      promptTokens,
      outputTokens,
      ttftMs: firstMs - arrivalMs,
      tpotMs: outputTokens > 1 ? (nowMs - firstMs) / (outputTokens - 1) : null,
      e2eMs: nowMs - arrivalMs,
    });
  }

  preempted(job: Job, nowMs: number): void {
    const { generatedTokens, request } = job;
    this.add({ type: "preempted", atMs: nowMs, id: request.id, generatedTokens });
  }
}
