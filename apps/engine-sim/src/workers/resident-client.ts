/** A worker's connection to its resident: requests are answered in order, and the next may be sent before. */
import { connect, type Socket } from "node:net";
import { onLines } from "./lines.js";
import {
  type AttachAnswer,
  type Batch,
  type BeginAnswer,
  type FreeAnswer,
  type IdleAnswer,
  type InheritedAnswer,
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
  inherited: InheritedAnswer;
  take: Batch | IdleAnswer;
  preempt: FreeAnswer;
  post: PostAnswer;
  measure: Measure;
  passed: { readonly ok: true };
  stop_load: { readonly ok: true };
}

export class ResidentClient {
  /** One for each request under way. */
  private readonly waiting: ((line: string) => void)[] = [];

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
      (line) => client.waiting.shift()?.(line),
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
      this.waiting.push((line) => {
        clearTimeout(timer);
        resolve(JSON.parse(line) as Answers[R["op"]] | ResidentRefusal);
      });
      this.socket.write(`${JSON.stringify(request)}\n`);
    });
  }

  close(): void {
    this.socket.destroy();
  }
}
