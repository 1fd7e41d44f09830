import type { Logger } from "pino";
import { backoffMs } from "./backoff.js";
import type { Clock } from "./clock.js";
import type { ControllerError } from "./controller-client.js";

/** Whether the controller can be heard, told once per change, and when to try again. */
export class ControllerLink {
  private failures = 0;
  private since: number | null = null;
  private lastRefusal: string | null = null;
  private retryAtMs = 0;

  constructor(
    private readonly clock: Clock,
    private readonly log: Logger,
    private readonly maxBackoffMs: number,
  ) {}

  /** Epoch milliseconds of the first failure of this absence; null while the controller is heard. */
  get awaySinceMs(): number | null {
    return this.since;
  }

  /** What the controller refuses this agent with, such as `401 unauthenticated`; null while it does not. */
  get refusal(): string | null {
    return this.lastRefusal;
  }

  get mayTry(): boolean {
    return this.clock.monotonicMs() >= this.retryAtMs;
  }

  get waitMs(): number {
    return Math.max(0, this.retryAtMs - this.clock.monotonicMs());
  }

  heard(): void {
    this.failures = 0;
    this.retryAtMs = 0;
    this.lastRefusal = null;
    if (this.since === null) return;
    const awayMs = this.clock.nowMs() - this.since;
    this.since = null;
    this.log.info({ event: "controller_reachable", awayMs }, "controller is back");
  }

  failed(error: ControllerError): void {
    this.failures += 1;
    const firstMs = Math.min(500, this.maxBackoffMs);
    const waitMs = backoffMs(this.failures, { firstMs, capMs: this.maxBackoffMs }, Math.random());
    this.retryAtMs = this.clock.monotonicMs() + waitMs;
    if (error.kind === "away") this.noteAway(error);
    else this.noteRefusal(error);
  }

  private noteAway(error: ControllerError): void {
    if (this.since !== null) return;
    this.since = this.clock.nowMs();
    const since = new Date(this.since).toISOString();
    this.log.warn(
      { event: "controller_unreachable", since, error: error.message },
      `controller unreachable since ${since}; keeping the split`,
    );
  }

  private noteRefusal(error: ControllerError): void {
    const refusal = `${error.status} ${error.problem?.code ?? error.kind}`;
    if (refusal === this.lastRefusal) return;
    this.lastRefusal = refusal;
    this.log.error(
      { event: "controller_refuses", status: error.status, error: error.message },
      "the controller refuses this agent; keeping the split",
    );
  }
}
