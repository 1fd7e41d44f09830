/**
 * The resident process of every rank: owns weights, KV storage and batch state and outlives the workers. Started here
 * where a command is given, else somebody else's; only started ones are watched.
 */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "pino";
import { z } from "zod";
import { backoffMs } from "../backoff.js";
import { readJsonSync } from "../files/read-json.js";
import { replaceFileSync } from "../files/replace-file.js";
import { type ProcessKey, isAlive, sendSignal } from "./proc.js";
import { boundLog, environmentOf, startProcess } from "./worker-process.js";

export const RESIDENT_DIED = "resident_died";
const RESTART_BACKOFF = { firstMs: 200, capMs: 30_000 };
const record = z.object({
  pid: z.int().min(1),
  startTicks: z.number().nullable(),
  /** It was up once: should its path vanish later, it is left alone, for workers may be attached. */
  wasReady: z.boolean().default(false),
});

export interface ResidentsOptions {
  readonly folder: string;
  readonly instance: string;
  readonly ranks: readonly number[];
  /** null: the operator runs them. `{rank}` is filled in, as in `env` and `readyPath`. */
  readonly command: readonly string[] | null;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string | null;
  /** It is up when this path exists; null: as soon as it runs. */
  readonly readyPath: string | null;
  /** From its start, or the agent's, to `readyPath`; then it is ended and started again. */
  readonly readyMs: number;
  /** From SIGTERM to SIGKILL of one that is ended. */
  readonly sigtermMs: number;
  readonly log: Logger;
}

interface Resident {
  readonly rank: number;
  key: ProcessKey | null;
  wasReady: boolean;
  sinceMs: number;
  /** When it was told to end, because it did not get ready. */
  endedAtMs: number | null;
  /** Not ready in time, nor any that was started after it. */
  overdue: boolean;
  failures: number;
  notBeforeMs: number;
}

export class Residents {
  private readonly all: Resident[] = [];

  constructor(private readonly options: ResidentsOptions) {}

  open(): void {
    if (this.options.command === null) return;
    for (const rank of this.options.ranks) {
      const known = record.safeParse(readJsonSync(this.recordFile(rank)));
      // One that died while no agent looked is found dead by the first `tend`.
      const { wasReady = false, ...key } = known.data ?? {};
      this.all.push({
        rank,
        key: known.success ? (key as ProcessKey) : null,
        wasReady,
        sinceMs: performance.now(),
        endedAtMs: null,
        overdue: false,
        failures: 0,
        notBeforeMs: 0,
      });
    }
  }

  /** Whether workers can attach. */
  get ready(): boolean {
    return this.all.every((resident) => this.isReady(resident));
  }

  /** Whether one was not up within its limit, and is not up yet. */
  get overdue(): boolean {
    return this.all.some(({ overdue }) => overdue);
  }

  /** Starts what does not run, where that may be now; the ranks whose resident was found dead. */
  tend(mayStart: boolean): readonly number[] {
    const died: number[] = [];
    for (const resident of this.all) {
      if (resident.key !== null && !isAlive(resident.key)) {
        died.push(resident.rank);
        this.failed(resident);
        this.options.log.error({ event: RESIDENT_DIED, rank: resident.rank });
      } else if (resident.key !== null) this.lookAt(resident, resident.key);
      if (mayStart && resident.key === null && performance.now() >= resident.notBeforeMs)
        this.start(resident);
    }
    return died;
  }

  boundLogs(): void {
    for (const { rank } of this.all) boundLog(this.logFile(rank));
  }

  private isReady({ key, rank, endedAtMs }: Resident): boolean {
    const { readyPath } = this.options;
    if (key === null || endedAtMs !== null) return false;
    return readyPath === null || existsSync(this.fill(readyPath, rank));
  }

  /** Whether it is up, and what becomes of it when it does not get up. */
  private lookAt(resident: Resident, key: ProcessKey): void {
    const { readyMs, sigtermMs, readyPath, log } = this.options;
    const { rank, sinceMs, endedAtMs } = resident;
    const now = performance.now();
    if (endedAtMs !== null) {
      if (now - endedAtMs >= sigtermMs) sendSignal(key, "SIGKILL");
      return;
    }
    if (this.isReady(resident)) {
      resident.overdue = false;
      if (!resident.wasReady) this.write(resident, { ...key, wasReady: true });
      resident.wasReady = true;
    } else if (!resident.wasReady && now - sinceMs > readyMs) {
      const message = `${String(readyPath)} is not there ${readyMs} ms after its start: it is ended and started again`;
      log.error({ event: "resident_not_ready", rank, pid: key.pid }, message);
      resident.overdue = true;
      resident.endedAtMs = now;
      sendSignal(key, "SIGTERM");
    }
  }

  /** It has ended, or did not start: the next one waits, longer each time. */
  private failed(resident: Resident): void {
    resident.key = null;
    resident.failures += 1;
    resident.notBeforeMs = performance.now() + backoffMs(resident.failures, RESTART_BACKOFF, Math.random());
  }

  private start(resident: Resident): void {
    const { command, env, cwd, readyPath, log, instance } = this.options;
    const { rank } = resident;
    // What is left of one before it would make this one look ready.
    if (readyPath !== null) rmSync(this.fill(readyPath, rank), { force: true });
    const filled = Object.entries(env).map(([name, value]) => [name, this.fill(value, rank)] as const);
    const added = {
      ...Object.fromEntries(filled),
      FULCRUM_INSTANCE: instance,
      FULCRUM_WORKER_RANK: String(rank),
    };
    resident.key = startProcess(
      {
        command: (command ?? []).map((part) => this.fill(part, rank)),
        env: environmentOf(process.env, added),
        cwd,
        logFile: this.logFile(rank),
      },
      (why) => log.warn({ event: "resident_ended", rank, why }),
    );
    log.info({ event: "resident_start", rank, pid: resident.key?.pid ?? null });
    if (resident.key === null) return this.failed(resident);
    Object.assign(resident, { wasReady: false, sinceMs: performance.now(), endedAtMs: null });
    this.write(resident, { ...resident.key, wasReady: false });
  }

  private write({ rank }: Resident, kept: z.infer<typeof record>): void {
    try {
      replaceFileSync(this.recordFile(rank), `${JSON.stringify(kept)}\n`);
    } catch (error) {
      this.options.log.warn({ event: "resident_record_unwritable", rank, error: String(error) });
    }
  }

  private fill(text: string, rank: number): string {
    return text.replaceAll("{rank}", String(rank));
  }

  private logFile(rank: number): string {
    return join(this.options.folder, `${this.options.instance}~resident-${rank}.log`);
  }

  private recordFile(rank: number): string {
    return join(this.options.folder, `${this.options.instance}~resident-${rank}.json`);
  }
}
