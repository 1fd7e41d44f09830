/**
 * The workers of one instance on this node as they are known: started by this agent, or by one before it (found by
 * their records on disk and by their hello).
 */
import { join } from "node:path";
import {
  type WorkerAnswer,
  type WorkerEvent,
  type WorkerHello,
  type WorkerRefused,
  type WorkerRequest,
  type WorkerRole,
} from "@fulcrum/contracts/worker-protocol.js";
import type { Logger } from "pino";
import { changeOf } from "./answer-change.js";
import { type ProcessKey, isAlive, processKey, sendSignal, wasStartedAs } from "./proc.js";
import type { WorkerView } from "./role-view.js";
import { WorkerHub } from "./worker-hub.js";
import { WorkerLinkError } from "./worker-link.js";
import { type WorkerRecord, WorkerRecords } from "./worker-records.js";
import { type ProcessSpec, boundLog, logTail, startProcess } from "./worker-process.js";

interface Entry {
  readonly role: WorkerRole;
  /** The process that said hello, which a wrapper script may have started; before, the one that was started. */
  readonly key: ProcessKey | null;
  view: WorkerView;
  /** Why the process ended, where this agent started it. */
  ended: string | null;
}

export interface WorkerRegistryOptions {
  /** Records, logs and sockets. */
  readonly folder: string;
  readonly instance: string;
  readonly ranks: readonly number[];
  readonly log: Logger;
  readonly nowMs: () => number;
  /** Something is different; called often. */
  readonly changed: () => void;
  /** A worker lost its turn to a higher one without having handed over. */
  readonly fenced: (worker: WorkerView, role: WorkerRole, turn: number) => void;
}

export class WorkerRegistry {
  private readonly entries = new Map<string, Entry>();
  private readonly hubs = new Map<number, WorkerHub>();

  private readonly records: WorkerRecords;

  constructor(private readonly options: WorkerRegistryOptions) {
    this.records = new WorkerRecords(options);
  }

  /** Listens for the workers of every rank and finds those that run already. @throws RankClaimedError */
  async open(): Promise<void> {
    try {
      for (const rank of this.options.ranks) {
        const hub = await WorkerHub.listen(
          { path: this.socketPath(rank), rank },
          {
            connected: (_link, hello) => this.connected(hello),
            event: (worker, event) => this.take(worker, event),
            answer: (worker, request, answer) => this.answered(worker, request, answer),
            disconnected: (worker, why) => this.disconnected(worker, why),
          },
        );
        this.hubs.set(rank, hub);
      }
    } catch (error) {
      await this.close();
      throw error;
    }
    for (const record of this.records.load()) this.adopt(record);
  }

  socketPath(rank: number): string {
    return socketPathOf(this.options.folder, this.options.instance, rank);
  }

  /** The processes are looked at anew. */
  views(role: WorkerRole): readonly WorkerView[] {
    const of = [...this.entries.values()].filter((entry) => entry.role === role);
    for (const entry of of) this.lookAt(entry);
    return of.map(({ view }) => view);
  }

  get size(): number {
    return this.entries.size;
  }

  start(
    of: Pick<WorkerRecord, "id" | "role" | "rank" | "generation" | "smPct" | "standby">,
    spec: Omit<ProcessSpec, "logFile">,
  ): void {
    const key: ProcessKey | null = startProcess({ ...spec, logFile: this.records.logFile(of.id) }, (why) =>
      this.processEnded(of.id, why),
    );
    const { role, ...rest } = of;
    const view = { ...this.freshView(), ...rest, alive: key !== null, state: "new" as const };
    this.entries.set(of.id, { role, key, view, ended: null });
    if (key) this.records.write({ ...of, ...key });
  }

  update(id: string, change: Partial<WorkerView>): void {
    const entry = this.entries.get(id);
    if (!entry) return;
    const { iteration = entry.view.iteration } = change;
    const iterated = iteration === entry.view.iteration ? {} : { iteratedAtMs: this.options.nowMs() };
    entry.view = { ...entry.view, ...change, ...iterated };
    this.options.changed();
  }

  view(id: string): WorkerView | null {
    return this.entries.get(id)?.view ?? null;
  }

  /** Keeps `inFlight` while it waits, and what the answer says. @throws WorkerLinkError */
  async request(id: string, body: WorkerRequest, timeoutMs: number): Promise<WorkerAnswer> {
    const entry = this.entries.get(id);
    const link = entry && this.hubs.get(entry.view.rank)?.link(id);
    if (!entry || !link) throw new WorkerLinkError("unreachable", `${id} is not connected`);
    if (body.op !== "status") this.update(id, { inFlight: body.op });
    try {
      return await link.request(body, timeoutMs);
    } finally {
      if (body.op !== "status" && entry.view.inFlight === body.op) this.update(id, { inFlight: null });
    }
  }

  pid(id: string): number | null {
    return this.entries.get(id)?.key?.pid ?? null;
  }

  signal(id: string, signal: "SIGTERM" | "SIGKILL"): void {
    const key = this.entries.get(id)?.key;
    if (key) sendSignal(key, signal);
  }

  /** Why it ended, and the last that it wrote. */
  lastWords(id: string): string {
    const why = this.entries.get(id)?.ended ?? "ended";
    const tail = logTail(this.records.logFile(id));
    return tail === "" ? why : `${why}: ${tail.slice(-500)}`;
  }

  forget(id: string): void {
    this.entries.delete(id);
    this.records.remove(id);
  }

  boundLogs(): void {
    for (const id of this.entries.keys()) boundLog(this.records.logFile(id));
  }

  /** The workers go on. */
  async close(): Promise<void> {
    await Promise.all([...this.hubs.values()].map((hub) => hub.close()));
    this.hubs.clear();
  }

  private connected(hello: WorkerHello): WorkerRefused | null {
    const known = this.entries.get(hello.worker);
    const { role, rank, generation, smPct, state, turn, iteration, smCount } = hello;
    const key = keyOf(hello, known?.key ?? null);
    if (key === null) {
      const message = `pid ${hello.pid} is no process of worker ${hello.worker}, and no record says which is`;
      return { type: "refused", code: "bad_hello", message };
    }
    const base = known?.view ?? { ...this.freshView(), id: hello.worker, rank, generation, smPct };
    const now = this.options.nowMs();
    const view = {
      ...base,
      connected: true,
      state,
      turn,
      iteration,
      smCount,
      inFlight: null,
      heardAtMs: now,
      iteratedAtMs: now,
    };
    this.entries.set(hello.worker, { role, key, view, ended: null });
    if (known?.key?.pid !== key.pid) {
      this.records.write({ id: hello.worker, role, rank, generation, smPct, standby: view.standby, ...key });
    }
    this.options.log.info({ event: "worker_connected", worker: hello.worker, state, turn });
    this.options.changed();
    return null;
  }

  private take(worker: string, event: WorkerEvent): void {
    const heardAtMs = this.options.nowMs();
    if (event.event !== "progress")
      this.options.log.info({ worker, ...event, event: `worker_${event.event}` });
    switch (event.event) {
      case "ready":
        return this.update(worker, { state: "ready", smCount: event.smCount, heardAtMs });
      case "failed": {
        const { code, message } = event;
        return this.update(worker, { fault: { code, message }, heardAtMs });
      }
      case "iterating": {
        const { turn, iteration } = event;
        const began = { turn, iteration };
        return this.update(worker, { state: "iterating", turn, iteration, began, heardAtMs });
      }
      case "progress":
        return this.update(worker, { iteration: event.iteration, heardAtMs });
      case "fenced": {
        this.update(worker, { state: "handed_over", iteration: event.iteration, heardAtMs });
        const entry = this.entries.get(worker);
        return entry && this.options.fenced(entry.view, entry.role, event.turn);
      }
    }
  }

  /** One that says the same again is no sign of life: a worker that hangs may still answer. */
  private answered(worker: string, request: WorkerRequest, answer: WorkerAnswer): void {
    const before = this.entries.get(worker)?.view;
    if (!answer.ok || !before) return;
    const { change, isNew } = changeOf(request, answer, before);
    this.update(worker, { ...change, ...(isNew ? { heardAtMs: this.options.nowMs() } : {}) });
  }

  private disconnected(worker: string, why: string): void {
    this.options.log.info({ event: "worker_disconnected", worker, why });
    this.update(worker, { connected: false, inFlight: null, heardAtMs: this.options.nowMs() });
  }

  private processEnded(id: string, why: string): void {
    const entry = this.entries.get(id);
    if (!entry) return;
    entry.ended = why;
    this.lookAt(entry);
    this.options.changed();
  }

  private lookAt(entry: Entry): void {
    if (entry.view.alive && (entry.key === null || !isAlive(entry.key))) {
      entry.view = { ...entry.view, alive: false };
    }
  }

  private adopt(record: WorkerRecord): void {
    const { id, role, rank, generation, smPct, standby } = record;
    if (this.entries.has(id)) return;
    const { pid, startTicks } = record;
    const view = { ...this.freshView(), id, rank, generation, smPct, standby, state: null };
    this.entries.set(id, { role, key: { pid, startTicks }, view, ended: null });
    this.options.log.info({ event: "worker_adopted", worker: id, pid });
  }

  private freshView(): WorkerView {
    const now = this.options.nowMs();
    return {
      id: "",
      rank: 0,
      generation: 0,
      smPct: 100,
      alive: true,
      connected: false,
      state: null,
      turn: null,
      took: false,
      iteration: 0,
      smCount: null,
      sinceMs: now,
      heardAtMs: now,
      iteratedAtMs: now,
      began: null,
      inFlight: null,
      standby: false,
      retiring: null,
      fault: null,
    };
  }
}

/**
 * What a worker says of its pid counts only where that process was started as this worker: in a pid namespace of its own
 * it says the number of somebody else, who would be signalled in its place. Else the process that was started; null
 * when none is known.
 */
function keyOf({ pid, worker }: WorkerHello, started: ProcessKey | null): ProcessKey | null {
  if (started?.pid === pid) return started;
  const said = processKey(pid);
  return isAlive(said) && wasStartedAs(said, worker) ? said : started;
}

export function socketPathOf(folder: string, instance: string, rank: number): string {
  return join(folder, `${instance}~${rank}.sock`);
}
