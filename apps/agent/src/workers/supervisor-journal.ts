/** What a supervisor must not forget: which allocation is committed and which is on its way. The rest it can see. */
import { randomUUID } from "node:crypto";
import { allocation, generation } from "@fulcrum/contracts/primitives.js";
import type { Allocation } from "@fulcrum/core/nouns.js";
import type { Logger } from "pino";
import { z } from "zod";
import { readStateFile, writeStateFile } from "./state-file.js";

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
  /** Why the last preparation or switch was given up. */
  failure: z.object({ generation, code: z.string(), message: z.string() }).nullable(),
  /** A worker was killed with work on the GPU: what its other clients do now is not defined (actuation.md §2.3). */
  gpuSuspect: z.boolean(),
});
export type SupervisorState = z.infer<typeof supervisorState>;

export class SupervisorJournal {
  private failing = false;

  private constructor(
    private readonly path: string,
    private current: SupervisorState,
    /** Whether there was one to read. */
    readonly found: boolean,
    private readonly log: Logger,
  ) {}

  static open(path: string, startUp: Allocation, log: Logger): SupervisorJournal {
    const raw = readStateFile(path);
    const parsed = supervisorState.safeParse(raw);
    if (raw !== null && !parsed.success) log.warn({ event: "supervisor_journal_corrupt", path });
    const fresh: SupervisorState = {
      version: 1,
      bootId: randomUUID(),
      committed: { generation: 0, asked: startUp },
      pending: null,
      failure: null,
      gpuSuspect: false,
    };
    return new SupervisorJournal(path, parsed.success ? parsed.data : fresh, parsed.success, log);
  }

  get state(): SupervisorState {
    return this.current;
  }

  get unwritable(): boolean {
    return this.failing;
  }

  /** On disk when it returns, or known not to be; never throws. */
  update(change: Partial<Omit<SupervisorState, "version">>): void {
    this.current = { ...this.current, ...change };
    try {
      writeStateFile(this.path, this.current);
      this.failing = false;
    } catch (error) {
      if (!this.failing) this.log.error({ event: "supervisor_journal_unwritable", error: String(error) });
      this.failing = true;
    }
  }

  newBoot(): void {
    this.update({ bootId: randomUUID(), gpuSuspect: false });
  }
}
