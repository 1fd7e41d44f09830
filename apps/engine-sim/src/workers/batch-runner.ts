/**
 * A worker's part at its resident: begins a turn, takes batches and runs them: takes KV blocks, works for the step time of
 * the profile, posts the result.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import { PoolError } from "@fulcrum/kv-pool/errors.js";
import type { PoolOwner } from "@fulcrum/kv-pool/owner.js";
import { deliveredSmPct, type Profile } from "@fulcrum/simulator/profile.js";
import { decodeStepMs, prefillStepMs, shareInForce } from "@fulcrum/simulator/step-time.js";
import { coreWaitedMs, monotonicMs } from "./core-wait.js";
import type { ResidentClient } from "./resident-client.js";
import type {
  Batch,
  Blocks,
  DecodePart,
  IdleAnswer,
  PrefillPart,
  ResidentRefusal,
} from "./resident-protocol.js";
import type { FaultPoint } from "./worker-faults.js";

export interface BatchRunnerOptions {
  readonly role: WorkerRole;
  readonly profile: Profile;
  /** Engine seconds per second. */
  readonly speed: number;
  /** Its share of the SMs, percent, as asked. */
  readonly cappedPct: number;
  readonly owner: PoolOwner;
  readonly resident: ResidentClient;
  readonly reach: (point: FaultPoint) => Promise<void>;
}

interface Result {
  readonly id: number;
  readonly token: number | null;
  readonly blocks: number[];
}

interface Ran {
  readonly results: readonly Result[];
  readonly joined: readonly number[];
  /** Kernels and engine, at a share of 1 of the SMs that it gets. */
  readonly stepMs: (share: number, contended: boolean) => number;
}

type Taken = Batch | IdleAnswer | ResidentRefusal;

/** How far the role is. */
export interface Progress {
  readonly iteration: number;
  /** That the role has made. */
  readonly tokens: number;
}

/** What is as it is when the role's turn went past this worker's: somebody else goes on. */
export const STALE = "stale_turn";

export class BatchRunner {
  private waitedForCoreMs: number | null = null;

  constructor(private readonly options: BatchRunnerOptions) {}

  /** A pause may begin: from here on it counts how long it waits for a core. */
  mark(): void {
    this.waitedForCoreMs = coreWaitedMs();
  }

  /**
   * Takes over what the workers of the role before it hold. The first batch comes along with the list of it, so that a
   * hand-over waits for one answer of the resident.
   */
  async begin(turn: number): Promise<{ readonly progress: Progress; readonly first: Taken } | typeof STALE> {
    const { resident, owner, reach } = this.options;
    const as = { slot: owner.slot, sawAtMs: monotonicMs(), coreWaitMs: this.sinceMark() };
    const begun = await resident.ask({ op: "begin", turn, ...as });
    if (!begun.ok) return STALE;
    let { first } = begun;
    for (const { slot: from, blocks: expected } of begun.inherit) {
      const blocks = await owner.adoptAll(from);
      if (!(blocks instanceof Uint32Array)) return STALE;
      await reach("inherited");
      if (blocks.length === expected) {
        // Heard before the first result; a refusal of it refuses that too.
        resident.ask({ op: "inherited", turn, from, blocks: null }).catch(() => undefined);
        continue;
      }
      const kept = await resident.ask({ op: "inherited", turn, from, blocks: [...blocks] });
      if (!kept.ok) return STALE;
      this.free(kept.free);
      if (kept.isBatchVoid) first = null;
    }
    return { progress: begun, first: first ?? (await this.take(turn)) };
  }

  async take(turn: number): Promise<Taken> {
    return this.options.resident.ask({ op: "take", turn, coreWaitMs: this.sinceMark() });
  }

  /** Says that it has made the turn `turn`, for the books only: nobody waits for it. */
  passed(turn: number): void {
    this.options.resident
      .ask({ op: "passed", turn, coreWaitMs: this.sinceMark() })
      .catch((): void => undefined);
  }

  /** @returns how far the role is after it. @throws Error when the resident refuses for another reason than the turn. */
  async run(batch: Batch, turn: number): Promise<Progress | typeof STALE> {
    const { role, speed, resident, reach } = this.options;
    const ran = role === "prefill" ? this.takePrefill(batch.prefill) : await this.takeDecode(batch, turn);
    if (ran === STALE) return STALE;
    await reach("allocated");
    const share = this.shareBeside(batch.otherSmPct);
    const { results, joined } = ran;
    if (results.length > 0) await sleep(ran.stepMs(share, batch.otherSmPct !== null) / speed);
    await reach("computed");
    this.mark();
    const answer = await resident.ask({
      op: "post",
      turn,
      batch: batch.batch,
      share,
      results: results.map(({ id, token, blocks }) => ({ id, token, blocks })),
      joined: [...joined],
    });
    if (answer.ok) {
      await reach("posted");
      this.free(answer.free);
      return answer;
    }
    // Nothing of it counts: what was taken for it goes back, unless the successor has it already.
    for (const { blocks } of results) this.free(blocks);
    if (answer.code === STALE) return STALE;
    throw new Error(`the resident refused a result: ${answer.message}`);
  }

  /** Gives blocks back. A successor may have inherited them in between, and decides then. @throws PoolError */
  free(blocks: Blocks): void {
    if (blocks.length === 0) return;
    try {
      this.options.owner.free(Uint32Array.from(blocks));
    } catch (error) {
      const inherited = error instanceof PoolError && ["foreign_block", "double_free"].includes(error.code);
      if (!inherited || this.options.owner.held > 0) throw error;
    }
  }

  /** Milliseconds that it has waited for a core since `mark` or the last call; null: not known. */
  private sinceMark(): number | null {
    const before = this.waitedForCoreMs;
    this.mark();
    const now = this.waitedForCoreMs;
    return before === null || now === null ? null : Math.max(0, now - before);
  }

  /** First come, first served: where one does not get its blocks, those behind it wait too. */
  private takePrefill(parts: readonly PrefillPart[]): Ran {
    const results: Result[] = [];
    let tokens = 0;
    let sumSq = 0;
    for (const part of parts) {
      const blocks = this.allocate(part.blocks);
      if (blocks === null) break;
      results.push({ id: part.id, token: part.token, blocks });
      tokens += part.tokens;
      sumSq += (part.from + part.tokens) ** 2 - part.from ** 2;
    }
    const { profile } = this.options;
    const stepMs = (share: number, contended: boolean): number =>
      prefillStepMs(profile, { tokens, sumSq }, share, contended);
    return { results, joined: [], stepMs };
  }

  /** Each grows by its next token, oldest first; while the pool is full the youngest gives way. */
  private async takeDecode({ batch, decode }: Batch, turn: number): Promise<Ran | typeof STALE> {
    const { profile } = this.options;
    const joined: number[] = [];
    const active: DecodePart[] = [];
    for (const part of decode) {
      const isHere = part.join === null || (await this.adopt(part.join.slot, part.join.blocks));
      if (!isHere) continue;
      active.push(part);
      if (part.join !== null) joined.push(part.id);
    }
    const results: Result[] = [];
    for (let part = active[0]; part !== undefined; part = active[results.length]) {
      const blocks = this.allocate(Math.ceil(part.context / profile.kvBlockTokens) - part.blocks);
      if (blocks !== null) {
        results.push({ id: part.id, token: part.token, blocks });
        continue;
      }
      const youngest = active.pop();
      if (youngest === undefined) break;
      const { id } = youngest;
      const answer = await this.options.resident.ask({ op: "preempt", turn, batch, id });
      if (!answer.ok) return STALE;
      this.free(answer.free);
    }
    const contextTokens = active.reduce((sum, { context }) => sum + context, 0);
    const stepMs = (share: number, contended: boolean): number =>
      decodeStepMs(profile, { sequences: results.length, contextTokens }, share, contended);
    return { results, joined, stepMs };
  }

  /** null: there are not as many, or prefill may not have them. */
  private allocate(n: number): number[] | null {
    if (n <= 0) return [];
    const blocks = new Uint32Array(n);
    return this.options.owner.allocate(n, blocks) === "ok" ? [...blocks] : null;
  }

  /** false: not this time; the holder changes just now. */
  private async adopt(slot: number, blocks: Blocks): Promise<boolean> {
    if (blocks.length === 0) return true;
    try {
      return (await this.options.owner.adopt(slot, Uint32Array.from(blocks))) === "ok";
    } catch (error) {
      if (error instanceof PoolError) return false;
      throw error;
    }
  }

  /** 0..1 of the SMs; caps that overlap are divided as the profile says (shareInForce). */
  private shareBeside(otherSmPct: number | null): number {
    const { role, profile, cappedPct } = this.options;
    const own = deliveredSmPct(profile, cappedPct);
    const other = otherSmPct === null ? 0 : deliveredSmPct(profile, otherSmPct);
    const split =
      role === "prefill"
        ? { prefillSmPct: own, decodeSmPct: other }
        : { prefillSmPct: other, decodeSmPct: own };
    return shareInForce(profile, split, role, otherSmPct !== null);
  }
}
