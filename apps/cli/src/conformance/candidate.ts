/** One candidate worker: its process and what it has said, with waits that have a limit. */
import { type ChildProcess, spawn } from "node:child_process";
import type { WorkerHub } from "@fulcrum/agent/workers/worker-hub.js";
import type {
  WorkerAnswer,
  WorkerEvent,
  WorkerHello,
  WorkerRequest,
  WorkerRole,
} from "@fulcrum/contracts/worker-protocol.js";
import { workerStatus } from "@fulcrum/contracts/worker-protocol.js";

/** Something the worker did not do, as a sentence. */
export class RuleBroken extends Error {
  override readonly name = "RuleBroken";
}

const ANSWER_MS = 5_000;
const MAX_OUTPUT_CHARS = 4_000;

export interface CandidateSpec {
  readonly id: string;
  readonly role: WorkerRole;
  readonly generation: number;
  readonly smPct: number;
  readonly command: string;
  readonly socket: string;
  readonly env: Readonly<Record<string, string>>;
}

export class Candidate {
  hello: WorkerHello | null = null;
  hellos = 0;
  readonly events: WorkerEvent[] = [];
  readonly unasked: WorkerAnswer[] = [];
  exit: { readonly code: number | null; readonly signal: string | null } | null = null;
  private output = "";
  private readonly child: ChildProcess;
  private readonly watchers = new Set<() => void>();

  constructor(
    readonly spec: CandidateSpec,
    private readonly hub: WorkerHub,
  ) {
    this.child = spawn("/bin/sh", ["-c", spec.command], {
      env: {
        ...spec.env,
        FULCRUM_WORKER_PROTOCOL: "1",
        FULCRUM_WORKER_SOCKET: spec.socket,
        FULCRUM_WORKER_ID: spec.id,
        FULCRUM_WORKER_ROLE: spec.role,
        FULCRUM_WORKER_RANK: "0",
        FULCRUM_INSTANCE: "conformance",
        FULCRUM_GENERATION: String(spec.generation),
        FULCRUM_SM_PCT: String(spec.smPct),
        CUDA_MPS_ACTIVE_THREAD_PERCENTAGE: String(spec.smPct),
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.output = (this.output + text).slice(-MAX_OUTPUT_CHARS);
      });
    }
    this.child.once("exit", (code, signal) => {
      this.exit = { code, signal };
      this.changed();
    });
  }

  /** Whoever waits looks again. */
  changed(): void {
    for (const look of this.watchers) look();
  }

  get lastWords(): string {
    return this.output.trim().split("\n").slice(-3).join(" | ");
  }

  /** @throws RuleBroken */
  async until<T>(what: string, limitMs: number, look: () => T | null | undefined | false): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        clearInterval(again);
        this.watchers.delete(check);
      };
      const check = (): void => {
        const found = look();
        if (found === null || found === undefined || found === false) {
          if (this.exit === null) return;
          end();
          const { code, signal } = this.exit;
          const said = this.lastWords === "" ? "" : `; it wrote: ${this.lastWords}`;
          reject(new RuleBroken(`${what}: the worker ended (${signal ?? `exit code ${code}`})${said}`));
        } else {
          end();
          resolve(found);
        }
      };
      const timer = setTimeout(() => {
        end();
        reject(new RuleBroken(`${what}: not within ${limitMs} ms`));
      }, limitMs);
      const again = setInterval(check, 20);
      this.watchers.add(check);
      check();
    });
  }

  /** The first event of the kind after the first `from` events. */
  event<K extends WorkerEvent["event"]>(
    kind: K,
    limitMs: number,
    from = 0,
  ): Promise<Extract<WorkerEvent, { event: K }>> {
    return this.until(`event ${kind}`, limitMs, () =>
      this.events
        .slice(from)
        .find((event): event is Extract<WorkerEvent, { event: K }> => event.event === kind),
    );
  }

  /** @throws RuleBroken when there is no answer. */
  async ask(request: WorkerRequest, limitMs = ANSWER_MS): Promise<WorkerAnswer> {
    const link = this.hub.link(this.spec.id);
    if (link === null) throw new RuleBroken(`${request.op}: the worker is not connected`);
    try {
      return await link.request(request, limitMs);
    } catch (error) {
      throw new RuleBroken(`${request.op}: ${(error as Error).message}`, { cause: error });
    }
  }

  async accept(request: WorkerRequest, limitMs?: number): Promise<Extract<WorkerAnswer, { ok: true }>> {
    const answer = await this.ask(request, limitMs);
    if (!answer.ok) throw new RuleBroken(`${request.op} was refused: ${answer.code}: ${answer.message}`);
    return answer;
  }

  async refuse(request: WorkerRequest, code: string): Promise<Extract<WorkerAnswer, { ok: false }>> {
    const answer = await this.ask(request);
    if (answer.ok)
      throw new RuleBroken(`${JSON.stringify(request)} should be refused with ${code}, but was accepted`);
    if (answer.code !== code) {
      throw new RuleBroken(`${JSON.stringify(request)} should be refused with ${code}, got ${answer.code}`);
    }
    return answer;
  }

  async status(): Promise<{
    readonly state: string;
    readonly turn: number | null;
    readonly iteration: number;
  }> {
    const parsed = workerStatus.safeParse(await this.accept({ op: "status" }));
    if (parsed.success) return parsed.data;
    const issue = parsed.error.issues[0];
    throw new RuleBroken(`the answer to status: ${issue?.path.join(".")}: ${issue?.message}`);
  }

  /** Polls status until it is so. */
  async reach(state: string, limitMs = ANSWER_MS): Promise<void> {
    const giveUpAt = performance.now() + limitMs;
    for (;;) {
      const now = await this.status();
      if (now.state === state) return;
      if (performance.now() > giveUpAt)
        throw new RuleBroken(`its state should be ${state}, but is ${now.state}`);
      await pause(20);
    }
  }

  sendText(text: string): void {
    this.hub.link(this.spec.id)?.sendText(text);
  }

  breakConnection(): void {
    this.hub.link(this.spec.id)?.close();
  }

  signal(signal: "SIGTERM" | "SIGKILL"): void {
    const pid = this.hello?.pid ?? this.child.pid;
    try {
      if (pid !== undefined && this.exit === null) process.kill(pid, signal);
    } catch {
      // It has ended in between.
    }
  }

  /** At the end of everything. */
  end(): void {
    this.signal("SIGKILL");
    if (this.exit === null) this.child.kill("SIGKILL");
  }
}

export function pause(durationMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, durationMs);
  });
}
