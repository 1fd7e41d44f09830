/** A worker's connection to its resident: one request at a time, answered in order. */
import { connect, type Socket } from "node:net";
import { onLines } from "./lines.js";
import {
  type AttachAnswer,
  type Batch,
  type BeginAnswer,
  type FreeAnswer,
  type IdleAnswer,
  MAX_RESIDENT_LINE_CHARS,
  type Measure,
  type PostAnswer,
  type ResidentRefusal,
  type ResidentRequest,
} from "./resident-protocol.js";

/** A request that is answered late is one to a resident that hangs; `take` waits 10 ms at most. */
const ANSWER_MS = 60_000;

interface Answers {
  attach: AttachAnswer;
  begin: BeginAnswer;
  inherited: FreeAnswer;
  take: Batch | IdleAnswer;
  preempt: FreeAnswer;
  post: PostAnswer;
  measure: Measure;
  stop_load: { readonly ok: true };
}

export class ResidentClient {
  private waiting: ((line: string) => void) | null = null;

  private constructor(private readonly socket: Socket) {}

  /** `ended`: the resident is gone. @throws Error when nobody listens. */
  static async connect(path: string, ended: () => void): Promise<ResidentClient> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.once("connect", () => resolve());
    });
    const client = new ResidentClient(socket);
    onLines(
      socket,
      MAX_RESIDENT_LINE_CHARS,
      (line) => client.waiting?.(line),
      () => socket.destroy(),
    );
    socket.on("error", () => undefined);
    socket.once("close", ended);
    return client;
  }

  /** @throws Error without an answer within a minute. */
  ask<R extends ResidentRequest>(request: R): Promise<Answers[R["op"]] | ResidentRefusal> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`the resident did not answer ${request.op} within ${ANSWER_MS} ms`)),
        ANSWER_MS,
      );
      this.waiting = (line) => {
        clearTimeout(timer);
        this.waiting = null;
        resolve(JSON.parse(line) as Answers[R["op"]] | ResidentRefusal);
      };
      this.socket.write(`${JSON.stringify(request)}\n`);
    });
  }

  close(): void {
    this.socket.destroy();
  }
}
