/**
 * The part that is the same for every driver without workers of its own: generations, the fence, repeats, and what an
 * agent that was killed half way finds again. The knob does the rest.
 */
import { allocation, generation } from "@fulcrum/contracts/primitives.js";
import type { GeneratedAllocation } from "@fulcrum/core/nouns.js";
import { z } from "zod";
import type {
  ActualState,
  DriverCapabilities,
  PartitionDriver,
  Plan,
  Verdict,
} from "../../partition-driver.js";
import { DriverError } from "../../partition-driver.js";
import { type Applied, checkedReading, type Knob, type Move, type Reading } from "./knob.js";
import { StateFile } from "./state-file.js";

const staged = z.strictObject({ generation, asked: allocation });

const driverMemory = z.strictObject({
  version: z.literal(1),
  bootId: z.string().max(200).nullable(),
  generation,
  /** Of the generation that runs; null before the engine was first read. */
  asked: allocation.nullable(),
  prepared: staged.nullable(),
  applying: staged.nullable(),
  /** A reading has shown that it runs: what does not show it any more is lost, and not merely under way. */
  reached: z.boolean().default(false),
  lost: z.boolean().default(false),
  /** How the last slow apply ended, until it has been told. */
  failed: z
    .strictObject({ generation, code: z.string(), message: z.string(), retryable: z.boolean() })
    .nullable(),
});

type DriverMemory = z.infer<typeof driverMemory>;

const FRESH: DriverMemory = {
  version: 1,
  bootId: null,
  generation: 0,
  asked: null,
  prepared: null,
  applying: null,
  reached: false,
  lost: false,
  failed: null,
};

/** What was applied does not run any more, though the engine did not begin anew. */
const LOST = "AllocationLost";

export class StagedDriver implements PartitionDriver {
  private readonly memory: StateFile<DriverMemory>;
  private queue: Promise<unknown> = Promise.resolve();
  /** The slow apply under way in this process. */
  private applying: Promise<void> | null = null;
  private closed = false;

  /** `statePath`: a file of this driver's own, kept over agent restarts. */
  constructor(
    private readonly knob: Knob,
    statePath: string,
  ) {
    this.memory = new StateFile(statePath, driverMemory, FRESH);
  }

  probe(): Promise<DriverCapabilities> {
    return this.inTurn(() => this.knob.probe());
  }

  observe(): Promise<ActualState> {
    return this.inTurn(async () => (await this.look()).actual);
  }

  plan(target: GeneratedAllocation, capabilities: DriverCapabilities): Plan {
    return this.knob.plan(target, capabilities);
  }

  prepare(plan: Plan): Promise<ActualState> {
    return this.inTurn(async () => {
      await this.look();
      const memory = await this.fenced(plan.generation);
      if (isKnown(memory, plan.generation)) return (await this.look()).actual;
      if (memory.applying) {
        throw new DriverError("not_ready", `generation ${memory.applying.generation} is being applied`, true);
      }
      await this.knob.accept(plan.asked);
      const { generation: of, asked } = plan;
      await this.memory.save({ prepared: { generation: of, asked }, failed: null });
      return (await this.look()).actual;
    });
  }

  commit(plan: Plan): Promise<ActualState> {
    return this.inTurn(async () => {
      await this.look();
      const memory = await this.fenced(plan.generation);
      if (memory.failed?.generation === plan.generation) return this.tellFailure(memory.failed);
      const { prepared } = memory;
      if (prepared?.generation !== plan.generation) {
        if (isKnown(memory, plan.generation)) return (await this.look()).actual;
        throw new DriverError("not_ready", `generation ${plan.generation} is not prepared`, true);
      }
      const why = await this.knob.waitsFor(prepared.asked);
      if (why !== null) throw new DriverError("not_ready", why, true);
      await this.memory.save({ applying: prepared, prepared: null, failed: null });
      await this.apply(false);
      return (await this.look()).actual;
    });
  }

  verify(plan: Plan): Promise<Verdict> {
    return this.inTurn(async () => {
      const { actual, reading } = await this.look();
      if (actual.generation !== plan.generation && actual.conditions?.includes(LOST)) {
        return { kind: "not_delivered", message: "what was applied does not run any more" };
      }
      if (reading === null || actual.generation < plan.generation) {
        return { kind: "pending", why: `generation ${actual.generation} runs, ${actual.phase}` };
      }
      if (actual.generation > plan.generation) {
        return { kind: "not_delivered", message: `generation ${actual.generation} runs` };
      }
      return this.knob.verify(plan, reading);
    });
  }

  rollback(of: number): Promise<void> {
    return this.inTurn(async () => {
      const { prepared, failed } = await this.memory.load();
      if (prepared?.generation !== of && failed?.generation !== of) return;
      await this.memory.keep({ prepared: null, failed: null });
    });
  }

  /** What is being applied stays noted, for the agent that comes next. */
  close(): void {
    this.closed = true;
    this.knob.close();
  }

  /** The state, and the reading behind it; no reading while an apply is under way: the engine may be down. */
  private async look(): Promise<{ actual: ActualState; reading: Reading | null }> {
    let memory = await this.memory.load();
    if (memory.applying && !this.applying && !this.closed) {
      await this.apply(true);
      memory = await this.memory.load();
    }
    const { applying, asked, bootId } = memory;
    if (applying && asked && bootId !== null) {
      const { generation: runs } = memory;
      const actual: ActualState = {
        bootId,
        generation: runs,
        phase: "switching",
        delivered: asked,
        asked,
        prepared: null,
      };
      return { actual, reading: null };
    }
    const applied: Applied | null = asked && { generation: memory.generation, asked };
    const reading = checkedReading(
      await this.knob.read(applied).catch((error: unknown) => {
        throw withReason(error, memory.failed);
      }),
    );
    memory = await this.noted(memory, reading);
    return { actual: await this.stateOf(memory, reading), reading };
  }

  private async noted(memory: DriverMemory, reading: Reading): Promise<DriverMemory> {
    const { bootId, asked, generation: runs, reached } = memory;
    if (reading.bootId !== bootId || asked === null) return this.beginAnew(reading);
    // Of generation 0 nothing was applied that could be lost.
    if (runs === 0 || reading.runs === undefined) return memory;
    if (reading.runs) return reached ? memory : this.memory.keep({ reached: true, lost: false });
    // To restore it means a restart there, which is not done for nobody: it is told, and no more.
    if (!reached || this.knob.appliesSlowly) return memory;
    // A newer one is of somebody who knows more: only what fell back is to be applied again.
    const told = reading.generation ?? 0;
    const generation = told > runs ? told : 0;
    return this.memory.keep({ generation, asked: reading.delivered, reached: false, lost: true });
  }

  private async stateOf(memory: DriverMemory, reading: Reading): Promise<ActualState> {
    const { prepared, failed } = memory;
    const ready = prepared !== null && (await this.knob.waitsFor(prepared.asked)) === null;
    // An apply that failed shows as prepared and ready: the commit that follows is answered with the reason.
    const lost = memory.lost || (memory.reached && reading.runs === false);
    const shown = prepared
      ? { generation: prepared.generation, ready }
      : failed && { generation: failed.generation, ready: true };
    return {
      bootId: reading.bootId,
      generation: memory.generation,
      phase: shown ? "preparing" : "steady",
      delivered: reading.delivered,
      asked: memory.asked ?? reading.delivered,
      prepared: shown,
      conditions: lost ? [LOST] : [],
    };
  }

  /** The engine runs its start-up allocation, or what it says it was last given. */
  private beginAnew(reading: Reading): Promise<DriverMemory> {
    const { bootId, delivered } = reading;
    return this.memory.keep({ ...FRESH, bootId, generation: reading.generation ?? 0, asked: delivered });
  }

  private async apply(resumed: boolean): Promise<void> {
    const { applying } = await this.memory.load();
    if (applying === null) return;
    const work = this.applyAndKeep({ ...applying, resumed });
    if (this.knob.appliesSlowly) {
      this.applying = work
        .catch((error: unknown) => (this.closed ? undefined : this.keepFailure(applying.generation, error)))
        .finally(() => {
          this.applying = null;
        });
      return;
    }
    try {
      await work;
    } catch (error) {
      // Not heard: it may have been done, so the next look does it again.
      if (error instanceof DriverError && error.silent) throw error;
      // Of a resumed one nobody waits for the answer.
      if (resumed) return this.keepFailure(applying.generation, error);
      await this.memory.keep({ applying: null });
      throw error;
    }
  }

  private async applyAndKeep(move: Move): Promise<void> {
    await this.knob.apply(move);
    const { generation: runs, asked } = move;
    const done = { generation: runs, asked, reached: false, lost: false };
    await this.memory.keep({ ...done, applying: null, failed: null });
  }

  private async keepFailure(of: number, error: unknown): Promise<void> {
    const { code, message, retryable } =
      error instanceof DriverError ? error : new DriverError("apply_failed", String(error), true);
    const failed = { generation: of, code, message, retryable };
    await this.memory.keep({ applying: null, prepared: null, failed });
  }

  private async tellFailure(failed: NonNullable<DriverMemory["failed"]>): Promise<never> {
    await this.memory.keep({ failed: null });
    throw new DriverError(failed.code, failed.message, failed.retryable);
  }

  private async fenced(of: number): Promise<DriverMemory> {
    const memory = await this.memory.load();
    const newest = Math.max(
      memory.generation,
      memory.prepared?.generation ?? 0,
      memory.applying?.generation ?? 0,
    );
    if (of < newest) throw new DriverError("stale_generation", `generation ${of} is below ${newest}`, false);
    return memory;
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.queue.then(work);
    this.queue = turn.catch(() => undefined);
    return turn;
  }
}

/** An engine that is not heard after an apply that failed: the failure is the reason. */
function withReason(error: unknown, failed: DriverMemory["failed"]): unknown {
  if (!(error instanceof DriverError) || failed === null) return error;
  return new DriverError(error.code, `${failed.message} (now ${error.message})`, error.retryable);
}

/** Runs, is prepared, or is being applied. */
function isKnown({ generation: runs, prepared, applying }: DriverMemory, of: number): boolean {
  return runs === of || prepared?.generation === of || applying?.generation === of;
}
