/** Does the moves that next-move chose. What a request comes to is put into the registry; the next look sees it. */
import { setTimeout as sleep } from "node:timers/promises";
import type { WorkerAnswer, WorkerRequest, WorkerRole } from "@fulcrum/contracts/worker-protocol.js";
import type { Logger } from "pino";
import type { MpsPort } from "../mps/mps-port.js";
import { type Move, type RetireStep, holdsTurn } from "./role-view.js";
import { WorkerLinkError } from "./worker-link.js";
import type { WorkerRegistry } from "./worker-registry.js";

/** Requests that a worker answers at once. */
const ANSWER_MS = 5_000;
const STATUS_MS = 1_000;
/**
 * Ranks agree on an iteration so far ahead that all hear of it before: to tell a pair of engines took 0.15 to 0.55 s on
 * 2 busy cores (docs/operations.md). How fast they iterate is looked at just before.
 */
const AHEAD_MS = 1_000;
const RATE_LOOK_MS = 200;

export interface MoveRunnerOptions {
  readonly registry: WorkerRegistry;
  readonly mps: MpsPort | null;
  readonly log: Logger;
  readonly handOverMs: number;
  /** A worker is told a turn, or the resident is known to have had it. */
  readonly noteTurn: (role: WorkerRole, rank: number, turn: number) => void;
  /** Ranks are about to be told to hand over; false when it cannot be written down. */
  readonly agreed: (role: WorkerRole, move: HandOver, at: number | null) => boolean;
  readonly fail: (code: string, message: string) => void;
  readonly suspect: () => void;
  readonly start: (role: WorkerRole, move: Extract<Move, { kind: "start" }>) => void;
  readonly faulted: (role: WorkerRole) => void;
}

type HandOver = Extract<Move, { kind: "hand_over" }>;

export class MoveRunner {
  /** Clients that the MPS daemon has ended cleanly: killing them afterwards harms nobody. */
  private readonly terminated = new Set<string>();
  /** Workers that do not know `keep`: what they were told takes its course. */
  private readonly cannotKeep = new Set<string>();

  constructor(private readonly options: MoveRunnerOptions) {}

  run(role: WorkerRole, move: Move): void {
    const { registry, log, start, fail } = this.options;
    switch (move.kind) {
      case "start":
        return start(role, move);
      case "attach":
        return void this.attach(role, move.worker);
      case "iterate":
        return void this.iterate(role, move);
      case "hand_over":
        return void this.handOver(role, move);
      case "keep":
        return void this.keep(role, move.worker);
      case "retire":
        return void this.retire(role, move.worker, move.step);
      case "condemn":
        return this.condemn(role, move.worker, move.code, move.message);
      case "forget": {
        const worker = registry.view(move.worker);
        const expected = worker?.retiring !== null && worker?.fault === null;
        log[expected ? "info" : "warn"]({
          event: "worker_ended",
          worker: move.worker,
          why: registry.lastWords(move.worker),
        });
        if (!expected) this.options.faulted(role);
        this.terminated.delete(move.worker);
        this.cannotKeep.delete(move.worker);
        return registry.forget(move.worker);
      }
      case "fail":
        return fail(move.code, move.message);
    }
  }

  private async attach(role: WorkerRole, worker: string): Promise<void> {
    this.options.registry.update(worker, { state: "attaching" });
    const answer = await this.ask(role, worker, { op: "attach" }, ANSWER_MS);
    if (answer && !answer.ok) this.condemn(role, worker, answer.code, answer.message);
  }

  private async iterate(role: WorkerRole, move: Extract<Move, { kind: "iterate" }>): Promise<void> {
    const { worker, turn, take } = move;
    this.options.noteTurn(role, this.options.registry.view(worker)?.rank ?? 0, turn);
    const answer = await this.ask(role, worker, { op: "iterate", turn, take }, ANSWER_MS);
    if (answer && !answer.ok) await this.refused(role, worker, answer);
  }

  private async handOver(role: WorkerRole, move: HandOver): Promise<void> {
    const { registry, agreed, noteTurn } = this.options;
    for (const { worker } of move.workers) registry.update(worker, { inFlight: "hand_over" });
    const at = move.at === "agree" ? await this.agree(role, move.workers) : move.at;
    const asked = move.workers.filter(({ worker }) => registry.view(worker)?.inFlight === "hand_over");
    if (asked.length < move.workers.length || !agreed(role, move, at)) {
      // Taken back, or one was lost, or nothing can be written down, before anybody was told.
      for (const { worker } of asked) registry.update(worker, { inFlight: null });
      return;
    }
    for (const { rank, turn } of asked) noteTurn(role, rank, turn);
    await Promise.all(asked.map(({ worker, turn }) => this.handOverOne(role, worker, turn, at)));
  }

  private async handOverOne(
    role: WorkerRole,
    worker: string,
    turn: number,
    at: number | null,
  ): Promise<void> {
    const { registry, handOverMs, fail } = this.options;
    const answer = await this.ask(role, worker, { op: "hand_over", turn, at }, handOverMs);
    if (answer === null) {
      const { connected, iteration } = registry.view(worker) ?? { connected: false, iteration: 0 };
      // An agreed iteration may be far off: then it is asked again, which changes nothing.
      const isOverdue = connected && (at === null || iteration > at);
      if (isOverdue) fail("hand_over_timeout", `${worker} did not hand over within ${handOverMs} ms`);
    } else if (!answer.ok && answer.code === "too_late") fail("too_late", `${worker}: ${answer.message}`);
    else if (!answer.ok && answer.code !== "kept") await this.refused(role, worker, answer);
  }

  /** An iteration that no rank has reached when the request arrives. */
  private async agree(role: WorkerRole, workers: readonly { readonly worker: string }[]): Promise<number> {
    const furthest = async (): Promise<number> => {
      await Promise.all(workers.map(({ worker }) => this.ask(role, worker, { op: "status" }, STATUS_MS)));
      return Math.max(...workers.map(({ worker }) => this.options.registry.view(worker)?.iteration ?? 0));
    };
    const before = await furthest();
    await sleep(RATE_LOOK_MS);
    const now = await furthest();
    // One more than were seen to end: the one under way counts too.
    return now + Math.ceil(((now - before + 1) * AHEAD_MS) / RATE_LOOK_MS);
  }

  private async keep(role: WorkerRole, worker: string): Promise<void> {
    if (this.cannotKeep.has(worker)) return;
    const answer = await this.ask(role, worker, { op: "keep" }, ANSWER_MS);
    if (answer === null || answer.ok) return;
    this.options.log.warn({ event: "worker_not_kept", worker, code: answer.code, message: answer.message });
    if (answer.code === "too_late") await this.ask(role, worker, { op: "status" }, STATUS_MS);
    else this.cannotKeep.add(worker);
  }

  private async retire(role: WorkerRole, worker: string, step: RetireStep): Promise<void> {
    const { registry, mps, log } = this.options;
    registry.update(worker, { retiring: { step, sinceMs: performance.now() } });
    log[step === "sigkill" ? "error" : "info"]({ event: "worker_retire", worker, step });
    if (step === "drain") return this.drain(role, worker);
    if (step === "leave") return void (await this.ask(role, worker, { op: "leave" }, ANSWER_MS));
    if (step === "sigterm") return registry.signal(worker, "SIGTERM");
    const pid = registry.pid(worker);
    if (step === "sigkill") {
      if (!this.terminated.has(worker)) this.options.suspect();
      return registry.signal(worker, "SIGKILL");
    }
    if (mps === null || pid === null) return;
    try {
      await mps.terminateClient(pid);
      this.terminated.add(worker);
    } catch (error) {
      log.error({ event: "terminate_client_failed", worker, pid, error: String(error) });
    }
  }

  private async drain(role: WorkerRole, worker: string): Promise<void> {
    const { registry } = this.options;
    const answer = await this.ask(role, worker, { op: "drain" }, ANSWER_MS);
    if (answer === null || answer.ok || answer.code !== "bad_state") return;
    await this.ask(role, worker, { op: "status" }, STATUS_MS);
    const view = registry.view(worker);
    // The turn came to it just before: it must pass it on before it may go.
    if (view && holdsTurn(view)) registry.update(worker, { retiring: null });
  }

  private condemn(role: WorkerRole, worker: string, code: string, message: string): void {
    this.options.log.warn({ event: "worker_condemned", worker, code, message });
    this.options.registry.update(worker, { fault: { code, message } });
    this.options.faulted(role);
  }

  private async refused(
    role: WorkerRole,
    worker: string,
    refusal: Extract<WorkerAnswer, { ok: false }>,
  ): Promise<void> {
    const { registry, log, noteTurn } = this.options;
    log.warn({ event: "worker_refused", worker, code: refusal.code, message: refusal.message });
    const rank = registry.view(worker)?.rank ?? 0;
    if (refusal.code === "stale_turn")
      return noteTurn(role, rank, refusal.turn ?? (registry.view(worker)?.turn ?? 0) + 1);
    // We did not know its state: now we do.
    if (refusal.code === "bad_state") return void (await this.ask(role, worker, { op: "status" }, STATUS_MS));
    this.condemn(role, worker, refusal.code, refusal.message);
  }

  /** null when there was no answer: one that should come at once and does not is a fault. */
  private async ask(
    role: WorkerRole,
    worker: string,
    body: WorkerRequest,
    timeoutMs: number,
  ): Promise<WorkerAnswer | null> {
    try {
      return await this.options.registry.request(worker, body, timeoutMs);
    } catch (error) {
      if (!(error instanceof WorkerLinkError)) throw error;
      const atOnce = body.op === "attach" || body.op === "iterate";
      if (error.code === "timeout" && atOnce) this.condemn(role, worker, "no_answer", error.message);
      return null;
    }
  }
}
