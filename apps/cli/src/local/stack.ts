import { setTimeout as pause } from "node:timers/promises";
import { failed, type CliFailure } from "../failure.js";

export interface Running {
  /** Resolves when it has ended, asked or not. */
  readonly ended: Promise<unknown>;
  readonly stop: () => Promise<void>;
}

interface Member {
  readonly name: string;
  running: Running;
  /** Pending while it is being started again. */
  revival: Promise<unknown>;
}

/** First wait before a part is started again, doubled each time. */
const FIRST_WAIT_MS = 250;
/** A part that ended more often than this within REVIVAL_WINDOW_MS is not started again. */
const MAX_REVIVALS = 5;
const REVIVAL_WINDOW_MS = 60_000;

/**
 * What was started, in order; stopped in the opposite order, each told to stop once. With `onRevival` a part
 * that ends by itself is started again where it can be; without, or when it keeps ending, that is a failure.
 */
export class Stack {
  private readonly members: Member[] = [];
  private readonly watchers: ((failure: CliFailure) => void)[] = [];
  private failure: CliFailure | null = null;
  private stopping: Promise<void> | null = null;

  constructor(private readonly onRevival?: (name: string, why: CliFailure) => void) {}

  /** An end before stop() was called is told by `explain`; `again` starts the part anew. */
  add(
    name: string,
    running: Running,
    explain: (end: unknown) => CliFailure,
    again?: () => Promise<Running>,
  ): void {
    const member = { name, running, revival: Promise.resolve() };
    this.members.push(member);
    void this.watch(member, explain, again);
  }

  private async watch(
    member: Member,
    explain: (end: unknown) => CliFailure,
    again?: () => Promise<Running>,
  ): Promise<void> {
    const revivedAtMs: number[] = [];
    for (;;) {
      const end = await member.running.ended;
      if (this.stopping !== null || this.failure !== null) return;
      const why = explain(end);
      const nowMs = Date.now();
      const recent = revivedAtMs.filter((atMs) => atMs > nowMs - REVIVAL_WINDOW_MS).length;
      if (!this.onRevival || !again || recent >= MAX_REVIVALS) return this.fail(why);
      revivedAtMs.push(nowMs);
      this.onRevival(member.name, why);
      const revived = this.revive(again, FIRST_WAIT_MS * 2 ** recent);
      member.revival = revived;
      const outcome = await revived;
      if (outcome instanceof Error) return this.fail(explain(outcome));
      if (outcome === null) return;
      member.running = outcome;
    }
  }

  /** Null when a stop came first; an error when it did not start. */
  private async revive(again: () => Promise<Running>, waitMs: number): Promise<Running | Error | null> {
    await pause(waitMs);
    if (this.stopping !== null || this.failure !== null) return null;
    return again().catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))));
  }

  private fail(failure: CliFailure): void {
    if (this.stopping !== null || this.failure !== null) return;
    this.failure = failure;
    for (const watcher of this.watchers.splice(0)) watcher(failure);
  }

  /** Called once with the first failure, at once when there was one already. */
  onFailure(watcher: (failure: CliFailure) => void): void {
    if (this.failure === null) this.watchers.push(watcher);
    else watcher(this.failure);
  }

  /** Stops all, newest first. What cannot be stopped is told at the end, when the rest has been. */
  stop(onStopping: (name: string) => void = () => undefined): Promise<void> {
    this.stopping ??= this.stopAll(onStopping);
    return this.stopping;
  }

  private async stopAll(onStopping: (name: string) => void): Promise<void> {
    const problems: string[] = [];
    for (const member of this.members.toReversed()) {
      onStopping(member.name);
      await member.revival;
      await member.running.stop().catch((error: Error) => problems.push(`${member.name}: ${error.message}`));
    }
    if (problems.length > 0) throw failed("not everything could be stopped", problems);
  }
}
