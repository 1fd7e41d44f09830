/** All that a candidate has said, and what of it was odd. */
import {
  WORKER_PROTOCOL_VERSION,
  type WorkerAnswer,
  type WorkerEvent,
  type WorkerHello,
  workerAnswer,
  workerEvent,
  workerHello,
} from "@fulcrum/contracts/worker-protocol.js";

/** Something the worker did not do, as a sentence. */
export class RuleBroken extends Error {
  override readonly name = "RuleBroken";
}

/** With the time it came, of performance.now(). */
export type Heard = WorkerEvent & { readonly atMs: number };

interface Asked {
  readonly id: number;
  readonly op: string;
  readonly connection: number;
  answer: WorkerAnswer | null;
}

const ITERATES: ReadonlySet<string> = new Set(["iterating", "handing_over"]);
/** Of all candidates and connections: an answer to the wrong one cannot look like one to the right one. */
let lastId = 0;

export class Conversation {
  hello: WorkerHello | null = null;
  readonly events: Heard[] = [];
  /** Refusals of lines without an id. */
  readonly unasked: WorkerAnswer[] = [];
  /** Answers that nobody waited for, as sentences. */
  readonly oddAnswers: string[] = [];
  /** What it said of the SMs that it sees, in order. */
  readonly smCounts: { readonly where: string; readonly smCount: number | null }[] = [];
  /** What it sent that is no line of the protocol; nothing that it says later counts. */
  wrong: string | null = null;
  /** The longest time that it iterated, connected, and said nothing of it. */
  longestSilenceMs = 0;
  private silentSinceMs: number | null = null;
  private readonly asked = new Map<number, Asked>();

  constructor(private readonly worker: string) {}

  ask(op: string, connection: number): { readonly id: number; readonly answer: WorkerAnswer | null } {
    lastId += 1;
    const asked: Asked = { id: lastId, op, connection, answer: null };
    this.asked.set(asked.id, asked);
    return asked;
  }

  find<K extends Heard["event"]>(kind: K, from = 0): Extract<Heard, { event: K }> | undefined {
    return this.events
      .slice(from)
      .find((event): event is Extract<Heard, { event: K }> => event.event === kind);
  }

  all<K extends Heard["event"]>(kind: K): readonly Extract<Heard, { event: K }>[] {
    return this.events.filter((event): event is Extract<Heard, { event: K }> => event.event === kind);
  }

  take(text: string, connection: number, isFirst: boolean): void {
    if (this.wrong !== null) return;
    const value = parsed(text);
    if (typeof value !== "object" || value === null)
      this.wrong = `it sent what is no JSON object: ${text.slice(0, 80)}`;
    else if (isFirst) this.takeHello(value);
    else if ("event" in value) this.takeEvent(value);
    else this.takeAnswer(value, connection);
  }

  lost(): void {
    this.heardOfIterating(false);
  }

  private takeHello(value: object): void {
    const hello = workerHello.safeParse(value);
    if (!hello.success) return this.isWrong("hello", hello.error);
    const { protocol, worker, pid, smCount, state } = hello.data;
    if (protocol !== WORKER_PROTOCOL_VERSION)
      this.wrong = `hello: protocol must be ${WORKER_PROTOCOL_VERSION}, got ${protocol}`;
    else if (worker !== this.worker)
      this.wrong = `hello: worker must be FULCRUM_WORKER_ID, ${this.worker}, got ${worker}`;
    else if (this.hello !== null && pid !== this.hello.pid)
      this.wrong = `hello: pid was ${this.hello.pid}, and is ${pid} on a later connection`;
    this.hello = hello.data;
    this.smCounts.push({ where: "a hello", smCount });
    this.heardOfIterating(ITERATES.has(state));
  }

  private takeEvent(value: object): void {
    const event = workerEvent.safeParse(value);
    if (!event.success) return this.isWrong("event", event.error);
    this.events.push({ ...event.data, atMs: performance.now() });
    const kind = event.data.event;
    if (event.data.event === "ready")
      this.smCounts.push({ where: "event ready", smCount: event.data.smCount });
    if (kind === "iterating") this.heardOfIterating(true);
    if (kind === "progress") this.heardOfIterating(this.silentSinceMs !== null);
    if (kind === "fenced") this.heardOfIterating(false);
  }

  private takeAnswer(value: object, connection: number): void {
    const answer = workerAnswer.safeParse(value);
    if (!answer.success) return this.isWrong("answer", answer.error);
    if (answer.data.id === null) return void this.unasked.push(answer.data);
    const asked = this.asked.get(answer.data.id);
    if (asked === undefined) {
      this.oddAnswers.push(`an answer to the id ${answer.data.id}, which no request had`);
      return;
    }
    if (asked.connection !== connection) {
      this.oddAnswers.push(`${asked.op} was asked on a connection that broke, and answered on the next one`);
    } else if (asked.answer !== null) this.oddAnswers.push(`${asked.op} was answered twice`);
    else asked.answer = answer.data;
    if (!answer.data.ok) return;
    if (answer.data.smCount !== undefined)
      this.smCounts.push({ where: `the answer to ${asked.op}`, smCount: answer.data.smCount });
    if (asked.op === "hand_over" || asked.op === "leave") this.heardOfIterating(false);
  }

  private heardOfIterating(goesOn: boolean): void {
    const now = performance.now();
    if (this.silentSinceMs !== null)
      this.longestSilenceMs = Math.max(this.longestSilenceMs, now - this.silentSinceMs);
    this.silentSinceMs = goesOn ? now : null;
  }

  private isWrong(
    what: string,
    error: { readonly issues: readonly { path: PropertyKey[]; message: string }[] },
  ): void {
    const issue = error.issues[0];
    this.wrong = `it sent a wrong ${what}: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? "unknown"}`;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
