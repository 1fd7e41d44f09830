import { createHash } from "node:crypto";
import { type Assignment, TRACEPARENT_FEATURE } from "@fulcrum/contracts/agent-api.js";
import type { Allocation } from "@fulcrum/core/nouns.js";
import { type BeforeApplicationShutdown, Inject, Injectable } from "@nestjs/common";
import type { Logger } from "pino";
import { DataSource } from "typeorm";
import { ProblemError } from "../http/problem-error.js";
import { LOGGER } from "../obs/logger.js";
import { commitOf, type Gate } from "../fleet/gate.js";
import { WAKE, type Wake } from "../wake/wake.js";

/** Held polls cost about 12 KiB each; past this many a poll is answered at once. */
const MAX_WAITING = 10_000;

export interface AssignmentRow {
  readonly name: string;
  readonly generation: number;
  readonly attempt: number;
  readonly allocation: Allocation;
  readonly issue_reason: string;
  readonly issued_at: Date;
  /** null too for an agent that does not know of gates. */
  readonly gate: Gate | null;
  /** Of the rollout that is under way; absent where the agent would not know the field, or was not asked for. */
  readonly traceparent?: string | null;
}

/** What agents should run, and the waiting of those who want to know at once when it changes. */
@Injectable()
export class AssignmentService implements BeforeApplicationShutdown {
  private readonly waiting = new Map<string, Set<() => void>>();
  private waitingCount = 0;
  private closing = false;

  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(WAKE) private readonly wake: Wake,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    wake.onWake((agents) => this.release(agents));
  }

  /** Lets every held poll go, so that a stop does not wait for them. */
  beforeApplicationShutdown(): void {
    this.closing = true;
    this.release(null);
  }

  get waitingPolls(): number {
    return this.waitingCount;
  }

  /** `traced`: whether the agent takes the trace of a change with it. */
  async forAgent(agent: string, traced = false): Promise<{ assignments: Assignment[]; etag: string }> {
    const rows = await this.source.query<AssignmentRow[]>(
      `SELECT DISTINCT i.name, i.generation, i.attempt, i.allocation, i.issue_reason, i.issued_at,
         CASE WHEN r.barrier THEN i.gate END AS gate, c.traceparent
       FROM agents a
       JOIN instance_ranks r ON r.agent_id = a.id
       JOIN instances i ON i.id = r.instance_id AND i.deleted_at IS NULL
       LEFT JOIN reconfigurations c ON $2 AND c.instance_id = i.id AND c.ended_at IS NULL
       WHERE a.name = $1 ORDER BY i.name`,
      [agent, traced],
    );
    const assignments = rows.map(toAssignment);
    return { assignments, etag: etagOf(assignments) };
  }

  /** The agent's assignments; null when they still carry `etag` after `waitMs`, or when `abandoned` fires. */
  async waitForChange(of: {
    readonly agent: string;
    readonly etag: string | undefined;
    readonly waitMs: number;
    readonly traced: boolean;
    readonly abandoned: AbortSignal;
  }) {
    const { agent, etag, waitMs, traced, abandoned } = of;
    await this.mustKnow(agent);
    const untilMs = Date.now() + waitMs;
    for (;;) {
      // Listen before looking: a change that commits in between wakes us.
      const wait = this.hold(agent, untilMs, abandoned);
      const current = await this.forAgent(agent, traced).catch((error: unknown) => {
        wait?.cancel();
        throw error;
      });
      if (current.etag !== etag) {
        wait?.cancel();
        return current;
      }
      if (wait === null) return null;
      if (Date.now() >= untilMs || this.closing || abandoned.aborted) {
        wait.cancel();
        return null;
      }
      await wait.over;
    }
  }

  /** Wakes agents on every replica. Never fails: what is lost here is fetched with the next report. */
  async announce(agents: readonly string[]): Promise<void> {
    if (agents.length === 0) return;
    this.release(agents);
    await this.wake.publish(agents).catch((error: unknown) => {
      this.logger.warn({ event: "wake_not_sent", agents: agents.length, err: error });
    });
  }

  private async mustKnow(agent: string): Promise<void> {
    const known = await this.source.query<unknown[]>("SELECT 1 FROM agents WHERE name = $1", [agent]);
    if (known.length === 0) throw new ProblemError("not_found", `Agent ${agent} has not registered.`);
  }

  private hold(
    agent: string,
    untilMs: number,
    abandoned: AbortSignal,
  ): { over: Promise<void>; cancel: () => void } | null {
    if (this.waitingCount >= MAX_WAITING) return null;
    const waiters = this.waiting.get(agent) ?? new Set();
    this.waiting.set(agent, waiters);
    let finish = () => {};
    const over = new Promise<void>((resolve) => {
      const timer = setTimeout(() => finish(), Math.max(0, untilMs - Date.now()));
      finish = () => {
        clearTimeout(timer);
        abandoned.removeEventListener("abort", finish);
        if (waiters.delete(finish)) this.waitingCount -= 1;
        if (waiters.size === 0 && this.waiting.get(agent) === waiters) this.waiting.delete(agent);
        resolve();
      };
      waiters.add(finish);
      this.waitingCount += 1;
      abandoned.addEventListener("abort", finish, { once: true });
    });
    return { over, cancel: () => finish() };
  }

  private release(agents: readonly string[] | null): void {
    for (const agent of agents ?? [...this.waiting.keys()]) {
      for (const finish of this.waiting.get(agent) ?? []) finish();
    }
  }
}

/** Whether an agent says that it takes `traceparent` in assignments: an older one would refuse the whole answer. */
export function takesTraces(features: string | undefined): boolean {
  return (features ?? "").split(",").some((feature) => feature.trim() === TRACEPARENT_FEATURE);
}

export function toAssignment(row: AssignmentRow): Assignment {
  const commit = commitOf(row.gate);
  return {
    instance: row.name,
    generation: row.generation,
    attempt: row.attempt,
    allocation: row.allocation,
    reason: row.issue_reason,
    issuedAtMs: row.issued_at.getTime(),
    ...(commit === undefined ? {} : { commit }),
    ...(row.traceparent ? { traceparent: row.traceparent } : {}),
  };
}

function etagOf(assignments: readonly Assignment[]): string {
  const hash = createHash("sha256");
  for (const { instance, generation, attempt, commit } of assignments)
    hash.update(`${instance}:${generation}:${attempt}:${JSON.stringify(commit) ?? ""}\n`);
  return `"${hash.digest("base64url").slice(0, 22)}"`;
}
