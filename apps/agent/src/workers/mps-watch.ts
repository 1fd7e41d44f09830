import { DriverError } from "../partition-driver.js";
import { boundedErrorText } from "./error-text.js";
import type { MpsPort } from "../mps/mps-port.js";

const LOOK_MS = 5_000;

/** Looks after the MPS daemon: without it a new process would run uncapped, in FAULT none is taken (actuation.md §2.3). */
export class MpsWatch {
  /** `mps_fault`, `mps_missing` or `mps_ambiguous`; null while all is well. */
  trouble: DriverError | null = null;
  private looked = false;
  private lookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly mps: MpsPort,
    private readonly changed: () => void,
  ) {}

  /** Whether a client may be started: the last look found the daemon well. */
  get mayStart(): boolean {
    return this.looked && this.trouble === null;
  }

  /** Every few seconds, however often it is called; never throws. */
  lookNowAndThen(): void {
    if (performance.now() - this.lookedAtMs >= LOOK_MS) void this.look();
  }

  /** What is wrong with the daemon now. */
  async look(): Promise<DriverError | null> {
    this.lookedAtMs = performance.now();
    const before = this.mayStart;
    this.trouble = await this.troubleNow();
    this.looked = true;
    if (this.mayStart !== before) this.changed();
    return this.trouble;
  }

  /** @throws DriverError where `more` clients cannot connect now */
  async refuse(more: number): Promise<void> {
    const trouble = await this.look();
    if (trouble) throw trouble;
    if (more === 0) return;
    const { clientLimit } = this.mps;
    const clients = await this.mps.clientCount().catch((error: unknown) => {
      throw missing(error);
    });
    if (clients + more <= clientLimit) return;
    const message = `${clients} clients of ${clientLimit} are connected to the MPS server, ${more} more are needed`;
    throw new DriverError("mps_client_limit", message, true);
  }

  private async troubleNow(): Promise<DriverError | null> {
    try {
      // MISSING: the daemon answers, and starts a server with its first client.
      if ((await this.mps.status()) !== "FAULT") return null;
      const message = "the MPS server is in FAULT: it takes no client until all have ended";
      return new DriverError("mps_fault", message, true);
    } catch (error) {
      return missing(error);
    }
  }
}

function missing(error: unknown): DriverError {
  const { code: why } = error as { code?: unknown };
  if (why === "ambiguous_server") return new DriverError("mps_ambiguous", boundedErrorText(error), true);
  const code = why === "fault" ? "mps_fault" : "mps_missing";
  return new DriverError(code, `no MPS daemon answers: ${boundedErrorText(error)}`, true);
}
