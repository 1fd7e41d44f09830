/** Moves an engine to another file by a restart, and back to the old one when it does not come up. */
import { liveness } from "@fulcrum/kv-pool/process-identity.js";
import { z } from "zod";
import type { Clock } from "../../clock.js";
import { DriverError } from "../../partition-driver.js";
import { StateFile } from "../staged/state-file.js";
import { type EngineRestartConfig, give, runCommand, untilHealthy } from "./engine-restart.js";

/** Of as many restarts the longest is what the next is expected to take. */
const KEPT_RESTARTS = 5;

const restartState = z.strictObject({
  /** Under way. `waiting`: the command ended well, the engine loads. */
  step: z.enum(["idle", "restarting", "waiting"]),
  generation: z.int().min(0),
  /** Of the command, while it runs: it outlives an agent that is killed. */
  commandPid: z.int().min(1).nullable(),
  /** Drained, and not yet told to serve again. */
  resumeDue: z.boolean(),
  lastRestartAtMs: z.number().nullable(),
  /** From the command's start to the first good answer, the newest last. */
  awayMs: z.array(z.number().min(0)).max(KEPT_RESTARTS),
});

export interface FileMove {
  readonly generation: number;
  readonly resumed: boolean;
  readonly writeNew: () => Promise<void>;
  readonly writeOld: () => Promise<void>;
  /** Called right before the engine is stopped. */
  readonly onRestart: () => Promise<void>;
}

export class DrainedRestart {
  private readonly state: StateFile<z.infer<typeof restartState>>;
  private readonly closing = new AbortController();

  constructor(
    private readonly config: EngineRestartConfig,
    private readonly clock: Clock,
    statePath: string,
  ) {
    const fresh = {
      step: "idle" as const,
      generation: 0,
      commandPid: null,
      resumeDue: false,
      lastRestartAtMs: null,
      awayMs: [],
    };
    this.state = new StateFile(statePath, restartState, fresh);
  }

  get allowed(): boolean {
    return this.config.allowRestart;
  }

  /** null before the first one. The drain is not in it: the engine serves while it drains. */
  async expectedMs(): Promise<number | null> {
    const { awayMs } = await this.state.load();
    return awayMs.length === 0 ? null : Math.round(Math.max(...awayMs));
  }

  /** @throws DriverError `restart_not_allowed`, `restart_too_soon` */
  async accept(): Promise<void> {
    if (!this.config.allowRestart) {
      const why =
        "this split moves by a restart of the engine only, and driver.restart.allowRestart is not set";
      throw new DriverError("restart_not_allowed", why, false);
    }
    const { lastRestartAtMs } = await this.state.load();
    const { minIntervalMs } = this.config;
    const sinceMs = lastRestartAtMs === null ? minIntervalMs : this.clock.nowMs() - lastRestartAtMs;
    // A clock that was set back must not hold restarts off for ever.
    if (sinceMs >= 0 && sinceMs < minIntervalMs) {
      const why = `the last restart was ${Math.round(sinceMs / 1_000)} s ago, driver.restart.minIntervalMs is ${minIntervalMs}`;
      throw new DriverError("restart_too_soon", why, true);
    }
  }

  /**
   * @throws DriverError `drain_failed`, or why the file could not be written: nothing was restarted;
   * `restart_failed`: the message says whether the old file runs again
   */
  async move(move: FileMove): Promise<void> {
    const { step, generation } = await this.state.load();
    const onlyWait = move.resumed && step === "waiting" && generation === move.generation;
    if (move.resumed) await this.earlierCommand();
    if (!onlyWait) {
      await move.writeNew();
      await this.drain(move);
    }
    this.refuseWhenClosing();
    try {
      await this.restart(move, onlyWait);
    } catch (error) {
      if (this.closing.signal.aborted) throw error;
      throw await this.back(move, error);
    }
    await this.finish();
  }

  close(): void {
    this.closing.abort();
  }

  private async drain(move: FileMove): Promise<void> {
    if (!this.config.drain) return;
    await this.state.keep({ resumeDue: true });
    try {
      await give(this.config.drain, "drain_failed");
    } catch (error) {
      await move.writeOld();
      await this.finish();
      throw error;
    }
  }

  /**
   * Two restarts at once would end each other's engines. Waits, and ends nothing: the number may be another
   * process's by now.
   */
  private async earlierCommand(): Promise<void> {
    const { commandPid } = await this.state.load();
    if (commandPid === null) return;
    const giveUpAtMs = this.clock.monotonicMs() + this.config.commandTimeoutMs;
    while (liveness({ pid: commandPid, start: 0, pidNamespace: 0 }) === "alive") {
      this.refuseWhenClosing();
      if (this.clock.monotonicMs() > giveUpAtMs) return;
      await this.clock.sleep(this.config.healthPollMs, this.closing.signal);
    }
  }

  /** The next agent goes on from here. */
  private refuseWhenClosing(): void {
    if (this.closing.signal.aborted) throw new DriverError("restart_failed", "the agent is closing", true);
  }

  private async restart(move: FileMove, onlyWait: boolean): Promise<void> {
    const { command, commandTimeoutMs } = this.config;
    const beganAtMs = this.clock.monotonicMs();
    if (!onlyWait) {
      await move.onRestart();
      const lastRestartAtMs = this.clock.nowMs();
      await this.state.keep({ step: "restarting", generation: move.generation, lastRestartAtMs });
      try {
        await runCommand(command, commandTimeoutMs, "restart_failed", (commandPid) => {
          void this.state.keep({ commandPid });
        });
      } finally {
        await this.state.keep({ commandPid: null });
      }
      await this.state.keep({ step: "waiting" });
    }
    await untilHealthy(this.config, this.clock, this.closing.signal);
    if (onlyWait) return;
    const { awayMs } = await this.state.load();
    const tookMs = this.clock.monotonicMs() - beganAtMs;
    await this.state.keep({ awayMs: [...awayMs, tookMs].slice(-KEPT_RESTARTS) });
  }

  private async back(move: FileMove, error: unknown): Promise<DriverError> {
    const first = error instanceof Error ? error.message : String(error);
    try {
      await move.writeOld();
      await this.restart(move, false);
      await this.finish();
      return new DriverError(
        "restart_failed",
        `${first}; the engine was started with the old split again`,
        false,
      );
    } catch (second) {
      // Nothing to send requests to: the resume stays due.
      await this.state.keep({ step: "idle" });
      const why = second instanceof Error ? second.message : String(second);
      return new DriverError(
        "restart_failed",
        `${first}; and with the old split: ${why}: the engine may be down`,
        false,
      );
    }
  }

  /** What was restarted stays so when the resume fails: it is tried again at every look until it succeeds. */
  private async finish(): Promise<void> {
    await this.state.keep({ step: "idle" });
    await this.resume().catch(() => undefined);
  }

  /** Does nothing when none is due. @throws DriverError `resume_failed`: the engine is well and gets no requests */
  async resume(): Promise<void> {
    const { resumeDue, step } = await this.state.load();
    if (!resumeDue || step !== "idle") return;
    if (this.config.resume) await give(this.config.resume, "resume_failed");
    await this.state.keep({ resumeDue: false });
  }
}
