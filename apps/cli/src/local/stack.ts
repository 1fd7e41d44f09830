import { failed, type CliFailure } from "../failure.js";

interface Member {
  readonly name: string;
  readonly stop: () => Promise<void>;
}

/** What was started, in order; stopped in the opposite order. Each is told to stop once. */
export class Stack {
  private readonly members: Member[] = [];
  private readonly watchers: ((failure: CliFailure) => void)[] = [];
  private failure: CliFailure | null = null;
  private stopping: Promise<void> | null = null;

  /** `ended` resolves when it has ended; before stop() was called that is a failure, told by `explain`. */
  add(
    name: string,
    running: { readonly ended: Promise<unknown>; readonly stop: () => Promise<void> },
    explain: (end: unknown) => CliFailure,
  ): void {
    this.members.push({ name, stop: running.stop });
    void this.watch(running.ended, explain);
  }

  private async watch(ended: Promise<unknown>, explain: (end: unknown) => CliFailure): Promise<void> {
    const end = await ended;
    if (this.stopping !== null || this.failure !== null) return;
    this.failure = explain(end);
    for (const watcher of this.watchers.splice(0)) watcher(this.failure);
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
    for (const { name, stop } of this.members.toReversed()) {
      onStopping(name);
      await stop().catch((error: Error) => problems.push(`${name}: ${error.message}`));
    }
    if (problems.length > 0) throw failed("not everything could be stopped", problems);
  }
}
