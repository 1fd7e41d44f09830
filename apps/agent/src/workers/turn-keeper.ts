/**
 * The turns of one instance as far as they are known, and whether somebody else gives turns there too: then a worker is
 * fenced by a turn that nobody here was told. A claim keeps a second agent away (claim.ts), but not across network
 * namespaces.
 */
import type { WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import type { Logger } from "pino";
import { backoffMs } from "../backoff.js";
import { type WorkerView, isUnheard } from "./role-view.js";

const CONTEST_BACKOFF = { firstMs: 1_000, capMs: 60_000 };
/** A contest that has been quiet for so long is over, and no longer told. */
const CONTEST_ENDS_MS = 120_000;

interface Contest {
  readonly count: number;
  readonly lastAtMs: number;
  readonly takeNotBeforeMs: number;
}

export class TurnKeeper {
  private readonly highest = new Map<string, number>();
  private readonly contests = new Map<WorkerRole, Contest>();

  constructor(
    private readonly log: Logger,
    private readonly nowMs: () => number,
  ) {}

  /** A turn that a worker of ours is told, or that the resident is known to have had. */
  note(role: WorkerRole, rank: number, turn: number): void {
    const key = `${role} ${rank}`;
    this.highest.set(key, Math.max(turn, this.highest.get(key) ?? 0));
  }

  highestOf(role: WorkerRole, ranks: readonly number[]): ReadonlyMap<number, number> {
    return new Map(ranks.map((rank) => [rank, this.highest.get(`${role} ${rank}`) ?? 0]));
  }

  /** A worker lost its turn to `turn` without having handed over. `workers`: all of the role. */
  fenced(role: WorkerRole, worker: WorkerView, turn: number, workers: readonly WorkerView[]): void {
    const { id, rank } = worker;
    const here = workers.filter((other) => other.rank === rank);
    const told = Math.max(this.highest.get(`${role} ${rank}`) ?? 0, ...here.map((other) => other.turn ?? 0));
    // An agent before this one may have given it to a worker that has not been heard yet.
    const isOurs = turn <= told || here.some(isUnheard);
    this.note(role, rank, turn);
    if (isOurs) return;
    const now = this.nowMs();
    const before = this.contested(role) ? (this.contests.get(role)?.count ?? 0) : 0;
    const waitMs = backoffMs(before + 1, CONTEST_BACKOFF, Math.random());
    this.contests.set(role, { count: before + 1, lastAtMs: now, takeNotBeforeMs: now + waitMs });
    const message =
      "a turn came that this agent did not give: another one steers this resident, perhaps from another container";
    this.log.error(
      { event: "rank_contested", role, rank, worker: id, turn, told, waitMs: Math.round(waitMs) },
      message,
    );
  }

  /** Whether somebody else gave turns not long ago. */
  contested(role: WorkerRole): boolean {
    const contest = this.contests.get(role);
    return contest !== undefined && this.nowMs() - contest.lastAtMs < CONTEST_ENDS_MS;
  }

  /** Longer each time: two agents that take the turn from each other leave nobody serving. */
  takeNotBeforeMs(role: WorkerRole): number {
    return this.contests.get(role)?.takeNotBeforeMs ?? 0;
  }
}
