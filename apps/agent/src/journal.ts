/**
 * What an agent must not forget, one small file per instance, replaced atomically (write, fsync, rename,
 * fsync of the folder). Losing it is survivable: the controller's assignment and the engine's read-back
 * bring everything back but the fence and the last good allocation.
 */
import { mkdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { switchAt } from "@fulcrum/contracts/agent-api.js";
import { allocation, generatedAllocation, generation, name } from "@fulcrum/contracts/primitives.js";
import { z } from "zod";
import type { Logger } from "pino";
import { replaceFile } from "./files/replace-file.js";

export const failure = z.strictObject({ code: z.string(), message: z.string(), retryable: z.boolean() });

export const target = z.strictObject({
  generation,
  attempt: z.int().min(1),
  allocation,
  outcome: z.enum(["open", "verified", "failed"]),
  /** Set exactly when the outcome is `failed`. */
  failure: failure.nullable(),
  /** The group's word, as in the assignment: null is to wait for it. Absent: none is needed. */
  commit: z.strictObject({ switchAt: switchAt.nullable() }).nullable().optional(),
  /** Verified without a read-back: what was delivered is not known. */
  readBackMissing: z.boolean().optional(),
});

const journalState = z.strictObject({
  version: z.literal(1),
  instance: name,
  /** The newest assignment that was accepted, and how it ended. */
  target: target.nullable(),
  /** The newest allocation that was read back as delivered. */
  lastGood: generatedAllocation.nullable(),
  /** The fence: nothing lower is ever applied. */
  highestGeneration: generation,
  /** Of the engine when it was last seen, so that a restart while the agent was down is noticed. */
  bootId: z.string().max(200).nullable(),
  /** No window up to this number may be numbered again. Runs ahead of the windows by up to SEQ_RESERVE. */
  reservedSeq: z.int().min(0),
});

/** Numbers are reserved in blocks, so that the journal is written once a minute and not once a window. */
export const SEQ_RESERVE = 64;

export type JournalState = z.infer<typeof journalState>;
export type Failure = z.infer<typeof failure>;

export class Journal {
  private written: JournalState | null = null;
  private writing: Promise<void> = Promise.resolve();
  private failing = false;

  private constructor(
    private readonly folder: string,
    private current: JournalState,
    private readonly log: Logger,
  ) {}

  /** Reads the instance's file; one that cannot be read is set aside as `<instance>.json.corrupt`. Never throws. */
  static async open(folder: string, instance: string, log: Logger): Promise<Journal> {
    const path = join(folder, `${instance}.json`);
    const fresh: JournalState = {
      version: 1,
      instance,
      target: null,
      lastGood: null,
      highestGeneration: 0,
      bootId: null,
      reservedSeq: 0,
    };
    try {
      await mkdir(folder, { recursive: true });
      const text = await readFile(path, "utf8");
      const parsed = parse(text, instance);
      if (typeof parsed === "object") return new Journal(folder, parsed, log);
      log.warn({ event: "journal_corrupt", path, why: parsed }, "the journal is set aside; starting anew");
      await rename(path, `${path}.corrupt`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
        log.warn({ event: "journal_unreadable", path, error: String(error) }, "starting without a journal");
      }
    }
    return new Journal(folder, fresh, log);
  }

  get state(): JournalState {
    return this.current;
  }

  get unwritable(): boolean {
    return this.failing;
  }

  /** Changes the state at once and writes it; resolves when it is on disk or known not to be. Never rejects. */
  update(change: Partial<Omit<JournalState, "version" | "instance">>): Promise<void> {
    this.current = { ...this.current, ...change };
    return this.flush();
  }

  /** Writes are in order, and one write carries all changes that were waiting for it. */
  flush(): Promise<void> {
    this.writing = this.writing.then(() => this.writeNewest());
    return this.writing;
  }

  private async writeNewest(): Promise<void> {
    const state = this.current;
    if (state === this.written) return;
    try {
      await replaceFile(join(this.folder, `${state.instance}.json`), `${JSON.stringify(state)}\n`);
      this.written = state;
      if (this.failing) this.log.info({ event: "journal_writable" }, "the journal can be written again");
      this.failing = false;
    } catch (error) {
      if (!this.failing) {
        this.log.error(
          { event: "journal_unwritable", error: String(error) },
          "the journal cannot be written; going on",
        );
      }
      this.failing = true;
    }
  }
}

function parse(text: string, instance: string): JournalState | string {
  try {
    const parsed = journalState.safeParse(JSON.parse(text));
    if (!parsed.success) return parsed.error.issues[0]?.message ?? "not a journal";
    return parsed.data.instance === instance ? parsed.data : `belongs to ${parsed.data.instance}`;
  } catch (error) {
    return String(error);
  }
}
