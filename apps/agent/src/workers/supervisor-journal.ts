/** What a supervisor must not forget: which allocation is committed and which is on its way. The rest it can see. */
import { randomUUID } from "node:crypto";
import { existsSync, renameSync } from "node:fs";
import { allocation, generation } from "@fulcrum/contracts/primitives.js";
import type { Allocation } from "@fulcrum/core/nouns.js";
import type { Logger } from "pino";
import { z } from "zod";
import { readJsonSync } from "../files/read-json.js";
import { replaceFileSync } from "../files/replace-file.js";

const RETRY_MS = 1_000;

/** An iteration that several ranks were told, and by rank the turn that each makes at its end. */
const agreement = z.object({
  at: z.int().min(0),
  turns: z.array(z.object({ rank: z.int().min(0), turn: z.int().min(1) })).max(64),
});
export const NOTHING_AGREED = { prefill: null, decode: null };

const switchAt = z.object({ prefill: z.int().min(0), decode: z.int().min(0) });

const supervisorState = z.object({
  version: z.literal(1),
  /** Of the residents and workers together: a new one after all of them were lost. */
  bootId: z.string().min(1).max(200),
  committed: z.object({ generation, asked: allocation }),
  pending: z
    .object({
      generation,
      asked: allocation,
      step: z.enum(["preparing", "switching"]),
      at: switchAt.nullable(),
    })
    .nullable(),
  /** By role what the ranks were told last: who comes back, agent or worker, is told the same. */
  agreed: z.object({ prefill: agreement.nullable(), decode: agreement.nullable() }).default(NOTHING_AGREED),
  /** Why the last preparation or switch was given up, or `ranks_parted`: it was done, and the ranks did not meet. */
  failure: z.object({ generation, code: z.string(), message: z.string() }).nullable(),
  /** A worker was killed with work on the GPU: what its other clients do now is not defined (actuation.md §2.3). */
  gpuSuspect: z.boolean(),
});
export type SupervisorState = z.infer<typeof supervisorState>;

export class SupervisorJournal {
  private failing = false;
  private dirty = false;
  private triedAtMs = 0;

  private constructor(
    private readonly path: string,
    private current: SupervisorState,
    private readonly log: Logger,
    private wasThere: boolean,
  ) {}

  /** One that cannot be understood is set aside as `<path>.corrupt`. */
  static open(path: string, startUp: Allocation, log: Logger): SupervisorJournal {
    const read = readState(path);
    if (read === null && existsSync(path)) {
      log.warn({ event: "supervisor_journal_corrupt", path });
      setAside(path);
    }
    const fresh: SupervisorState = {
      version: 1,
      bootId: randomUUID(),
      committed: { generation: 0, asked: startUp },
      pending: null,
      agreed: NOTHING_AGREED,
      failure: null,
      gpuSuspect: false,
    };
    return new SupervisorJournal(path, read ?? fresh, log, read !== null);
  }

  /** Once the claim is ours: whoever had it before may have written since. */
  reload(): void {
    const read = readState(this.path);
    this.current = read ?? this.current;
    this.wasThere ||= read !== null;
  }

  /** Whether there was one to read. */
  get found(): boolean {
    return this.wasThere;
  }

  get state(): SupervisorState {
    return this.current;
  }

  /** The last try to write failed; it is tried again. */
  get unwritable(): boolean {
    return this.failing;
  }

  /** What is about to be done: on disk first. @throws DriverError, and nothing is changed */
  plan(change: Partial<Omit<SupervisorState, "version">>): void {
    const next = { ...this.current, ...change };
    this.write(next);
    this.current = next;
  }

  /** What is so already: in memory at once, and on disk as soon as the disk takes it. */
  note(change: Partial<Omit<SupervisorState, "version">>): void {
    this.current = { ...this.current, ...change };
    this.dirty = true;
    if (!this.failing) this.tryToWrite();
  }

  /** Tries again, once a second, what could not be written; call it often. */
  flush(): void {
    if ((this.dirty || this.failing) && performance.now() - this.triedAtMs >= RETRY_MS) this.tryToWrite();
  }

  private tryToWrite(): void {
    try {
      this.write(this.current);
    } catch {
      // It is told as a condition and tried again.
    }
  }

  private write(state: SupervisorState): void {
    this.triedAtMs = performance.now();
    try {
      replaceFileSync(this.path, `${JSON.stringify(state)}\n`);
      this.failing = false;
      this.dirty = false;
    } catch (error) {
      if (!this.failing) this.log.error({ event: "supervisor_journal_unwritable", error: String(error) });
      this.failing = true;
      throw error;
    }
  }
}

function readState(path: string): SupervisorState | null {
  return supervisorState.safeParse(readJsonSync(path)).data ?? null;
}

function setAside(path: string): void {
  try {
    renameSync(path, `${path}.corrupt`);
  } catch {
    // It is replaced, then.
  }
}
