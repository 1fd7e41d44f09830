/** A model of workers, residents and an agent that forgets, for the property tests of next-move. No time passes by itself. */
import type { WorkerState } from "@fulcrum/contracts/worker-protocol.js";
import { nextMoves } from "../next-move.js";
import { hasBegun, isPrepared, isSwitched } from "../pending-state.js";
import { type Move, type RoleView, type WorkerView, isUsable, smCountOf } from "../role-view.js";

export const HARDWARE = { smCount: 108, smPerTpc: 2 };
export const LIMITS = {
  attachMs: 1_000,
  hangMs: 10_000,
  reconnectMs: 5_000,
  takeMs: 2_000,
  handOverMs: 8_000,
  drainMs: 100,
  leaveMs: 100,
  sigtermMs: 100,
  terminateMs: 100,
};

interface Actor {
  view: WorkerView;
  /** What it really does; the view is what the agent last heard. */
  state: WorkerState;
  /** That it runs under, or is armed for. */
  turn: number;
  /** That it will make when it hands over. */
  handsOver: number;
  alive: boolean;
  hung: boolean;
  /** Its connection breaks before the next order to hand over reaches it. */
  deaf: boolean;
}

export class WorkerWorld {
  readonly actors: Actor[] = [];
  readonly residentTurn = new Map<number, number>();
  /** As a refusal `stale_turn` tells the agent. */
  readonly heardTurn = new Map<number, number>();
  readonly failures: string[] = [];
  nowMs = 0;
  runs: RoleView["runs"] = { generation: 0, smPct: 50 };
  pending: RoleView["pending"] = null;
  previous: RoleView["previous"] = null;
  startNotBeforeMs = 0;
  takeNotBeforeMs = 0;
  /** As it is on disk. */
  agreed: RoleView["agreed"] = null;
  /** Orders to hand over that reached a worker, while the world was switching to a generation. */
  readonly heardOrders: { readonly generation: number; readonly rank: number; readonly at: number | null }[] =
    [];
  /** Every share that was ever committed to. */
  readonly sharesWanted = new Set<number>([50]);
  private born = 0;
  private newest = 0;

  constructor(
    readonly ranks: readonly number[],
    readonly standbyPcts: readonly number[] = [],
  ) {}

  view(): RoleView {
    return {
      nowMs: this.nowMs,
      ranks: this.ranks,
      workers: this.actors.map(({ view, alive }) => ({ ...view, alive })),
      runs: this.runs,
      pending: this.pending,
      previous: this.previous,
      standbyPcts: this.standbyPcts,
      highestTurn: this.heardTurn,
      startNotBeforeMs: this.startNotBeforeMs,
      takeNotBeforeMs: this.takeNotBeforeMs,
      agreed: this.agreed,
      limits: LIMITS,
      hardware: HARDWARE,
      canTerminateClient: true,
    };
  }

  tick(): readonly Move[] {
    const moves = nextMoves(this.view());
    for (const move of moves) this.apply(move);
    if (this.pending?.step === "switching" && isSwitched(this.view())) {
      this.previous = { smPct: this.runs.smPct, untilMs: this.nowMs + 500 };
      this.runs = { generation: this.pending.generation, smPct: this.pending.smPct };
      this.pending = null;
      this.agreed = null;
    }
    return moves;
  }

  prepare(smPct: number): void {
    if (this.pending?.step === "switching" && !this.armed) return;
    this.newest += 1;
    this.pending = { generation: this.newest, smPct, step: "preparing", at: null };
  }

  commit(at: number | null): void {
    if (this.pending?.step !== "preparing" || !isPrepared(this.view())) return;
    this.sharesWanted.add(this.pending.smPct);
    this.pending = { ...this.pending, step: "switching", at };
    this.agreed = null;
  }

  get armed(): boolean {
    return this.pending?.at !== null && this.revocable;
  }

  get revocable(): boolean {
    return this.pending?.step === "switching" && !hasBegun(this.view());
  }

  rollback(): void {
    if (this.pending?.step !== "preparing" && !this.revocable) return;
    this.pending = null;
    this.agreed = null;
  }

  /** A step of the worker's own: what it was doing goes on by one. */
  step(actor: Actor): void {
    if (!actor.alive || actor.hung) return;
    const { rank } = actor.view;
    const turn = this.residentTurn.get(rank) ?? 0;
    if (actor.state === "attaching") actor.state = "ready";
    else if (actor.state === "armed" && turn === actor.turn) actor.state = "iterating";
    else if (actor.state === "armed" && turn > actor.turn) actor.state = "handed_over";
    else if (actor.state === "iterating" && turn > actor.turn) actor.state = "handed_over";
    else if (actor.state === "handing_over") {
      this.residentTurn.set(rank, Math.max(turn, actor.handsOver));
      actor.turn = actor.handsOver;
      actor.state = "handed_over";
      this.hear(actor, { inFlight: null });
    }
    this.hear(actor, {});
  }

  connect(actor: Actor): void {
    if (!actor.alive || actor.hung || actor.view.connected) return;
    actor.view = { ...actor.view, connected: true };
    this.hear(actor, { iteratedAtMs: this.nowMs });
  }

  disconnect(actor: Actor): void {
    actor.view = { ...actor.view, connected: false, inFlight: null, heardAtMs: this.nowMs };
  }

  crash(actor: Actor): void {
    actor.alive = false;
  }

  /** A new agent: it finds the processes by its records, and hears them when they connect again. */
  restartAgent(): void {
    for (const actor of this.actors) {
      actor.view = {
        ...actor.view,
        connected: false,
        state: null,
        turn: null,
        took: false,
        smCount: null,
        inFlight: null,
        retiring: null,
        fault: null,
        sinceMs: this.nowMs,
        heardAtMs: this.nowMs,
        iteratedAtMs: this.nowMs,
        began: null,
      };
    }
  }

  iterating(rank: number): readonly Actor[] {
    return this.actors.filter(
      ({ view, alive, state }) =>
        alive && view.rank === rank && (state === "iterating" || state === "handing_over"),
    );
  }

  private apply(move: Move): void {
    if (move.kind === "fail") {
      this.failures.push(move.code);
      this.pending = null;
      this.agreed = null;
    } else if (move.kind === "start") this.start(move);
    else if (move.kind === "hand_over") {
      const at = this.agreeOn(move);
      for (const { worker, turn } of move.workers) this.handOver(this.find(worker), turn, at);
    } else this.applyTo(this.find(move.worker), move);
  }

  private agreeOn({ workers, at }: Extract<Move, { kind: "hand_over" }>): number | null {
    const named = at === "agree" ? 1_000 + 100 * this.heardOrders.length : at;
    if (named === null || this.ranks.length === 1) return named;
    if (
      this.agreed?.at !== named ||
      workers.some(({ rank, turn }) => this.agreed?.turns.get(rank) !== turn)
    ) {
      const turns = new Map(workers.map(({ rank, turn }) => [rank, turn]));
      this.agreed = { at: named, turns, sinceMs: this.nowMs };
    }
    return named;
  }

  private handOver(actor: Actor | undefined, turn: number, at: number | null): void {
    if (!actor?.alive) return;
    if (actor.deaf) {
      actor.deaf = false;
      return this.disconnect(actor);
    }
    actor.view = { ...actor.view, inFlight: "hand_over" };
    if (actor.hung) return;
    if (this.pending?.step === "switching") {
      this.heardOrders.push({ generation: this.pending.generation, rank: actor.view.rank, at });
    }
    if (actor.state === "iterating" && turn > actor.turn) {
      actor.state = "handing_over";
      actor.handsOver = turn;
    }
    if (actor.state !== "handing_over") actor.view = { ...actor.view, inFlight: null };
    this.hear(actor, {});
  }

  private applyTo(actor: Actor | undefined, move: Extract<Move, { worker: string }>): void {
    if (!actor) return;
    if (move.kind === "forget") this.actors.splice(this.actors.indexOf(actor), 1);
    else if (move.kind === "condemn") {
      actor.view = { ...actor.view, fault: { code: move.code, message: move.message } };
      this.startNotBeforeMs = this.nowMs + 50;
    } else if (move.kind === "attach") {
      if (actor.alive && !actor.hung) actor.state = "attaching";
      this.hear(actor, {});
    } else if (move.kind === "iterate") this.iterate(actor, move.turn, move.take);
    else if (move.kind === "keep") this.keep(actor);
    else this.retire(actor, move.step);
  }

  private iterate(actor: Actor, turn: number, take: boolean): void {
    // As the supervisor does with a request that is not answered in time.
    if (actor.hung) actor.view = { ...actor.view, fault: { code: "no_answer", message: "no answer" } };
    if (!actor.alive || actor.hung) return;
    const { rank } = actor.view;
    const now = this.residentTurn.get(rank) ?? 0;
    const may = actor.state === "ready" || actor.state === "handed_over" || actor.state === "armed";
    if (!may || turn < now || (turn === now && actor.turn !== turn)) {
      this.heardTurn.set(rank, now);
      return;
    }
    actor.state = "armed";
    actor.turn = turn;
    if (take) this.residentTurn.set(rank, Math.max(now, turn));
    this.hear(actor, { took: take });
  }

  private keep(actor: Actor): void {
    if (!actor.alive || actor.hung) return;
    if (actor.state === "handing_over") actor.state = "iterating";
    else if (actor.state === "armed" && actor.turn > (this.residentTurn.get(actor.view.rank) ?? 0))
      actor.state = "ready";
    this.hear(actor, { inFlight: null });
  }

  private retire(actor: Actor, step: NonNullable<WorkerView["retiring"]>["step"]): void {
    actor.view = { ...actor.view, retiring: { step, sinceMs: this.nowMs } };
    if (actor.hung && step !== "sigkill") return;
    const hasTurn = actor.state === "iterating" || actor.state === "handing_over";
    if (step === "drain" && hasTurn) actor.view = { ...actor.view, retiring: null };
    else if (step === "drain") actor.state = "draining";
    else actor.alive = false;
    this.hear(actor, {});
  }

  private start({ rank, generation, smPct, standby }: Extract<Move, { kind: "start" }>): void {
    this.born += 1;
    const view: WorkerView = {
      id: `w-${this.born}`,
      rank,
      generation,
      smPct,
      alive: true,
      connected: false,
      state: "new",
      turn: null,
      took: false,
      iteration: 0,
      smCount: null,
      sinceMs: this.nowMs,
      heardAtMs: this.nowMs,
      iteratedAtMs: this.nowMs,
      began: null,
      inFlight: null,
      standby,
      retiring: null,
      fault: null,
    };
    this.actors.push({ view, state: "new", turn: 0, handsOver: 0, alive: true, hung: false, deaf: false });
  }

  /** What a connected worker says reaches the agent at once. */
  private hear(actor: Actor, change: Partial<WorkerView>): void {
    if (actor.view.connected && actor.alive && !actor.hung) {
      const { state } = actor;
      const turn = Math.max(actor.turn, actor.handsOver);
      const smCount = state === "new" || state === "attaching" ? null : smCountOf(actor.view.smPct, HARDWARE);
      actor.view = { ...actor.view, ...change, state, turn: turn || null, smCount, heardAtMs: this.nowMs };
    } else actor.view = { ...actor.view, ...change };
  }

  private find(id: string): Actor | undefined {
    return this.actors.find(({ view }) => view.id === id);
  }
}

export function usableCount(world: WorkerWorld, rank: number): number {
  return world.view().workers.filter((worker) => worker.rank === rank && isUsable(worker)).length;
}
