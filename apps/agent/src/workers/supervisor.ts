/**
 * Keeps the workers of one instance on this node at what is committed, and moves them to what is pending: looks, asks
 * next-move what to do, does it. Everything that takes long is a request that waits on its own.
 */
import { randomBytes, randomUUID } from "node:crypto";
import type { WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import type { Allocation } from "@fulcrum/core/nouns.js";
import { backoffMs } from "../backoff.js";
import type { SwitchAt } from "../partition-driver.js";
import { MoveRunner } from "./move-runner.js";
import { MpsWatch } from "./mps-watch.js";
import { hasStopped, isNaivelySwitched, naiveMoves } from "./naive-move.js";
import { nextMoves } from "./next-move.js";
import { hasBegun, isPrepared, isSwitched, partedRanks } from "./pending-state.js";
import { QuotaKeeper } from "./quota-keeper.js";
import { RESIDENT_DIED } from "./residents.js";
import { type Move, type RoleView, type WorkerView, holdsTurn } from "./role-view.js";
import { Agreements } from "./agreements.js";
import { type ResidentClaim, claimResidents } from "./claim.js";
import { learnCommitted } from "./learn-committed.js";
import { NOTHING_AGREED, SupervisorJournal, type SupervisorState } from "./supervisor-journal.js";
import { TurnKeeper } from "./turn-keeper.js";
import { WorkerRegistry } from "./worker-registry.js";
import type { SupervisorOptions } from "./supervisor-options.js";
import { workerSpec } from "./worker-spec.js";

export const ROLES: readonly WorkerRole[] = ["prefill", "decode"];
const TICK_MS = 50;
const LOG_CHECK_MS = 10_000;
/** A switch that was done, with ranks that did not leave off at one iteration. */
export const RANKS_PARTED = "ranks_parted";
const LETS_GO: ReadonlySet<Move["kind"]> = new Set<Move["kind"]>(["condemn", "retire", "forget", "fail"]);
const START_BACKOFF = { firstMs: 200, capMs: 30_000 };

export class Supervisor {
  readonly journal: SupervisorJournal;
  readonly registry: WorkerRegistry;
  /** null where no MPS daemon is needed. */
  readonly mps: MpsWatch | null;
  private readonly runner: MoveRunner;
  private readonly quota: QuotaKeeper;
  private readonly turns: TurnKeeper;
  private readonly agreements: Agreements;
  private claim: ResidentClaim | null = null;
  private readonly startNotBefore = { prefill: 0, decode: 0 };
  private readonly faults = { prefill: 0, decode: 0 };
  private previous: { readonly asked: Allocation; readonly untilMs: number } | null = null;
  private timer: NodeJS.Timeout | null = null;
  private queued = false;
  private lastLogCheckMs = 0;
  private openedAtMs = 0;
  /** Whether `committed` is known: from the journal, or from the workers. */
  private known = false;
  private closed = false;

  constructor(private readonly options: SupervisorOptions) {
    const { folder, instance, ranks, log, startUp } = options;
    this.journal = SupervisorJournal.open(`${folder}/${instance}~supervisor.json`, startUp, log);
    this.registry = new WorkerRegistry({
      folder,
      instance,
      ranks,
      log,
      nowMs: () => performance.now(),
      changed: () => this.wake(),
      fenced: (worker, role, turn) => this.turns.fenced(role, worker, turn, this.registry.views(role)),
    });
    this.turns = new TurnKeeper(log, () => performance.now());
    this.agreements = new Agreements(this.journal, log);
    this.mps = options.mps && new MpsWatch(options.mps, () => this.wake());
    this.quota = new QuotaKeeper(options.quota, log, () => this.wake());
    this.runner = new MoveRunner({
      registry: this.registry,
      mps: options.mps,
      log,
      handOverMs: options.limits.handOverMs,
      noteTurn: (role, rank, turn) => this.turns.note(role, rank, turn),
      agreed: (role, { workers }, at) =>
        at === null || ranks.length === 1 || this.agreements.keep(role, workers, at),
      fail: (code, message) => this.fail(code, message),
      suspect: () => this.journal.note({ gpuSuspect: true }),
      start: (role, move) => this.start(role, move),
      faulted: (role) => this.backOff(role),
    });
  }

  /** Finds what runs, then keeps it. @throws RankClaimedError */
  async open(): Promise<void> {
    this.claim = await claimResidents(this.options.residentAddress, this.options.ranks);
    try {
      await this.registry.open();
      if (this.closed) throw new Error("the agent is closing");
    } catch (error) {
      this.claim.release();
      await this.registry.close();
      throw error;
    }
    this.journal.reload();
    if (this.registry.size === 0) this.newBoot();
    this.openedAtMs = performance.now();
    this.known = this.journal.found || this.registry.size === 0;
    this.options.residents.open();
    this.timer = setInterval(() => this.wake(), TICK_MS);
    this.wake();
  }

  /** Replaces what was prepared, or committed to and not begun. @throws DriverError when it cannot be kept on disk */
  prepare(generation: number, asked: Allocation): void {
    this.journal.plan({ pending: { generation, asked, step: "preparing", at: null }, failure: null });
    this.wake();
  }

  /** Nothing is switched that is not on disk. @throws DriverError */
  commit(at: SwitchAt | null): void {
    const { pending } = this.journal.state;
    if (pending) {
      this.journal.plan({ pending: { ...pending, step: "switching", at }, agreed: NOTHING_AGREED });
    }
    this.wake();
  }

  /** What was committed to waits for its iterations: nobody has got there. */
  get armed(): boolean {
    return this.journal.state.pending?.at !== null && this.revocable;
  }

  /** What was committed to can still be taken back without a trace: no rank of any role has begun. */
  get revocable(): boolean {
    if (this.journal.state.pending?.step !== "switching") return false;
    return !ROLES.some((role) => hasBegun(this.view(role)));
  }

  /** Somebody else gave turns to a resident of ours not long ago. */
  get contested(): boolean {
    return ROLES.some((role) => this.turns.contested(role));
  }

  get residentOverdue(): boolean {
    return this.options.residents.overdue;
  }

  /** Back to prepared; `prepared` again once all that were told to switch have been told to stay. */
  disarm(): void {
    const { pending } = this.journal.state;
    if (pending) {
      this.journal.note({ pending: { ...pending, step: "preparing", at: null }, agreed: NOTHING_AGREED });
    }
    this.wake();
  }

  /** What workers were told already is taken back, and what they did is undone. */
  rollback(): void {
    this.journal.note({ pending: null, agreed: NOTHING_AGREED });
    this.wake();
  }

  get prepared(): boolean {
    const { pending } = this.journal.state;
    if (pending === null) return false;
    return this.options.switching === "naive" || ROLES.every((role) => isPrepared(this.view(role)));
  }

  view(role: WorkerRole): RoleView {
    const { ranks, limits, hardware, standby, mps } = this.options;
    const { committed, pending } = this.journal.state;
    const pctOf = ({ split }: Allocation): number =>
      role === "prefill" ? split.prefillSmPct : split.decodeSmPct;
    return {
      nowMs: performance.now(),
      ranks,
      workers: this.registry.views(role),
      runs: { generation: committed.generation, smPct: pctOf(committed.asked) },
      pending: pending && {
        generation: pending.generation,
        smPct: pctOf(pending.asked),
        step: pending.step,
        at: pending.at?.[role] ?? null,
      },
      agreed: this.agreements.of(role),
      previous: this.previous && { smPct: pctOf(this.previous.asked), untilMs: this.previous.untilMs },
      standbyPcts: standby[role],
      highestTurn: this.turns.highestOf(role, ranks),
      startNotBeforeMs: this.mps?.mayStart === false ? Infinity : this.startNotBefore[role],
      takeNotBeforeMs: this.turns.takeNotBeforeMs(role),
      limits,
      hardware,
      canTerminateClient: mps !== null,
    };
  }

  /** Asks the workers that iterate where they are, so that ranks on several nodes can agree on an iteration. */
  async refreshIterations(timeoutMs: number): Promise<void> {
    const holders = ROLES.flatMap((role) => this.holders(role)).filter(({ connected }) => connected);
    await Promise.all(
      holders.map(({ id }) => this.registry.request(id, { op: "status" }, timeoutMs).catch(() => null)),
    );
  }

  holders(role: WorkerRole): readonly WorkerView[] {
    return this.registry.views(role).filter(holdsTurn);
  }

  async close(): Promise<void> {
    this.closed = true;
    if (this.timer) clearInterval(this.timer);
    // Before anything is waited for: the next agent may begin at once.
    this.claim?.release();
    await this.registry.close();
  }

  private wake(): void {
    if (this.queued || this.closed) return;
    this.queued = true;
    setImmediate(() => {
      this.queued = false;
      try {
        this.tick();
      } catch (error) {
        this.options.log.error({
          event: "supervisor_bug",
          error: String(error),
          stack: (error as Error).stack,
        });
      }
    });
  }

  private tick(): void {
    // Workers may connect before all that there is to know has been read: nothing is concluded from them alone.
    if (this.closed || this.timer === null) return;
    this.mps?.lookNowAndThen();
    this.journal.flush();
    this.tendResidents();
    if (!this.known && !this.learn()) return;
    for (const role of ROLES) {
      // Seen anew: the other role may have given up what is pending.
      for (const move of this.movesOf(this.view(role))) this.runner.run(role, move);
    }
    this.settle();
    const now = performance.now();
    if (now - this.lastLogCheckMs < LOG_CHECK_MS) return;
    this.lastLogCheckMs = now;
    this.registry.boundLogs();
    this.options.residents.boundLogs();
  }

  private movesOf(view: RoleView): readonly Move[] {
    const moves = this.allMovesOf(view);
    // Without its resident a worker can only go.
    return this.options.residents.ready ? moves : moves.filter(({ kind }) => LETS_GO.has(kind));
  }

  private allMovesOf(view: RoleView): readonly Move[] {
    if (this.options.switching === "overlapped") return nextMoves(view);
    if (view.pending?.step !== "switching") return nextMoves({ ...view, pending: null, previous: null });
    return naiveMoves(
      view,
      ROLES.every((role) => hasStopped(this.view(role))),
    );
  }

  /**
   * Without a journal what runs is what the workers that iterate say. Until those that were found have been heard, or
   * given up, nothing is moved.
   */
  private learn(): boolean {
    const { reconnectMs } = this.options.limits;
    const all = ROLES.flatMap((role) => this.registry.views(role));
    const isUnheard = all.some(({ alive, state }) => alive && state === null);
    if (isUnheard && performance.now() - this.openedAtMs < reconnectMs) return false;
    this.known = true;
    const [[prefill], [decode]] = [this.holders("prefill"), this.holders("decode")];
    const committed = learnCommitted({ prefill, decode }, this.options.startUp);
    if (committed === null) return true;
    this.options.log.warn({ event: "committed_learned", ...committed });
    this.journal.note({ committed });
    return true;
  }

  private keepQuota({ generation, asked }: SupervisorState["committed"]): boolean {
    const boot = this.journal.state.bootId;
    return this.quota.keep({ generation, kvQuotaPct: asked.kvQuotaPct, boot });
  }

  private settle(): void {
    const { pending, committed } = this.journal.state;
    if (pending === null && this.options.residents.ready) this.keepQuota(committed);
    if (pending?.step !== "switching") return;
    const isDone = this.options.switching === "naive" ? isNaivelySwitched : isSwitched;
    if (!ROLES.every((role) => isDone(this.view(role)))) return;
    if (!this.keepQuota(pending)) return;
    const { keepWarmMs, log } = this.options;
    this.previous =
      keepWarmMs > 0 ? { asked: committed.asked, untilMs: performance.now() + keepWarmMs } : null;
    const { generation, asked } = pending;
    const failure = this.partedFailure(generation);
    this.journal.note({ committed: { generation, asked }, pending: null, agreed: NOTHING_AGREED, failure });
    if (failure) log.error({ event: RANKS_PARTED, generation, message: failure.message });
    log.info({ event: "switched", generation });
    for (const role of ROLES) this.faults[role] = 0;
    this.wake();
  }

  private partedFailure(generation: number): SupervisorState["failure"] {
    const parted = ROLES.flatMap((role) => {
      const words = partedRanks(this.view(role));
      return words === null ? [] : [`${role}: ${words}`];
    });
    return parted.length === 0 ? null : { generation, code: RANKS_PARTED, message: parted.join("; ") };
  }

  private fail(code: string, message: string): void {
    const { pending } = this.journal.state;
    if (pending === null) {
      // Workers that go back, or are replaced: what was agreed on did not come to pass, and is agreed on anew.
      return this.journal.note({ agreed: NOTHING_AGREED });
    }
    const { generation } = pending;
    this.options.log.error({ event: "pending_given_up", generation, code, message });
    this.journal.note({ pending: null, agreed: NOTHING_AGREED, failure: { generation, code, message } });
    this.wake();
  }

  private tendResidents(): void {
    const died = this.options.residents.tend(this.mps?.mayStart ?? true);
    if (died.length === 0) return;
    this.newBoot();
    this.fail(RESIDENT_DIED, `the resident of rank ${died.join(", ")} has ended`);
    for (const role of ROLES) {
      for (const worker of this.registry.views(role)) {
        if (!died.includes(worker.rank) || worker.fault !== null) continue;
        const fault = { code: RESIDENT_DIED, message: `the resident of rank ${worker.rank} has ended` };
        this.registry.update(worker.id, { fault });
      }
    }
  }

  /** What ran before is lost, and with it what was wrong with it. */
  private newBoot(): void {
    this.journal.note({ bootId: randomUUID(), gpuSuspect: false });
  }

  private backOff(role: WorkerRole): void {
    this.faults[role] += 1;
    this.startNotBefore[role] =
      performance.now() + backoffMs(this.faults[role], START_BACKOFF, Math.random());
  }

  private start(role: WorkerRole, move: Extract<Move, { kind: "start" }>): void {
    const { rank, generation, smPct, standby } = move;
    const id = `w-${rank}-${role}-${generation}-${randomBytes(4).toString("hex")}`;
    const worker = { id, role, rank, generation, smPct };
    this.options.log.info({ event: "worker_start", worker: id, role, rank, generation, smPct });
    const spec = workerSpec(this.options, worker, this.registry.socketPath(rank));
    this.registry.start({ ...worker, standby }, spec);
  }
}
