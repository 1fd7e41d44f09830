/**
 * The Unix socket that the workers of one rank of an instance connect to. Listening on it is also the claim on the
 * rank: a second agent finds somebody answering there and gives way.
 */
import { mkdir } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import type {
  WorkerAnswer,
  WorkerEvent,
  WorkerHello,
  WorkerRefused,
  WorkerRequest,
} from "@fulcrum/contracts/worker-protocol.js";
import { claim } from "./claim.js";
import { WorkerLink } from "./worker-link.js";

const HELLO_MS = 5_000;
/** Workers of one rank: two generations of two roles, and standby workers. */
const MAX_CONNECTIONS = 128;

export interface WorkerHubListener {
  /** A worker said hello, for the first time or again; what it returns refuses it. */
  connected(link: WorkerLink, hello: WorkerHello): WorkerRefused | null;
  event(worker: string, event: WorkerEvent): void;
  answer(worker: string, request: WorkerRequest, answer: WorkerAnswer): void;
  unasked?(worker: string, refusal: WorkerAnswer): void;
  disconnected(worker: string, why: string): void;
}

export class WorkerHub {
  private readonly links = new Map<string, WorkerLink>();
  private readonly all = new Set<WorkerLink>();

  private constructor(
    readonly path: string,
    private readonly rank: number,
    private readonly server: Server,
    private readonly listener: WorkerHubListener,
  ) {}

  /** @throws RankClaimedError if another agent listens there */
  static async listen(
    of: { readonly path: string; readonly rank: number },
    listener: WorkerHubListener,
  ): Promise<WorkerHub> {
    const server = createServer();
    server.maxConnections = MAX_CONNECTIONS;
    const hub = new WorkerHub(of.path, of.rank, server, listener);
    server.on("connection", (socket) => hub.accept(socket));
    await mkdir(dirname(of.path), { recursive: true, mode: 0o700 });
    await claim(server, of.path);
    return hub;
  }

  link(worker: string): WorkerLink | null {
    const link = this.links.get(worker);
    return link?.open ? link : null;
  }

  /** Workers go on as they are. */
  async close(): Promise<void> {
    for (const link of this.all) link.close();
    await new Promise<void>((resolve) => {
      this.server.close(() => resolve());
    });
  }

  private accept(socket: Socket): void {
    const link = new WorkerLink(
      socket,
      {
        hello: (said, hello) => this.take(said, hello),
        event: (said, event) => {
          if (said.worker) this.listener.event(said.worker.worker, event);
        },
        answer: (said, request, answer) => {
          if (said.worker) this.listener.answer(said.worker.worker, request, answer);
        },
        unasked: (said, refusal) => {
          if (said.worker) this.listener.unasked?.(said.worker.worker, refusal);
        },
        closed: (said, why) => this.drop(said, why),
      },
      HELLO_MS,
    );
    this.all.add(link);
  }

  private take(link: WorkerLink, hello: WorkerHello): WorkerRefused | null {
    if (hello.rank !== this.rank) {
      const message = `this is rank ${this.rank}'s socket, the worker says rank ${hello.rank}`;
      return { type: "refused", code: "wrong_rank", message };
    }
    const known = this.links.get(hello.worker);
    if (known?.open && known.worker?.pid !== hello.pid) {
      const message = `${hello.worker} is connected already, as process ${known.worker?.pid}`;
      return { type: "refused", code: "duplicate", message };
    }
    const refused = this.listener.connected(link, hello);
    if (refused) return refused;
    // The same process on a new connection: the old one broke and nobody has noticed yet.
    this.links.set(hello.worker, link);
    known?.close();
    return null;
  }

  private drop(link: WorkerLink, why: string): void {
    this.all.delete(link);
    const worker = link.worker?.worker;
    if (worker === undefined || this.links.get(worker) !== link) return;
    this.links.delete(worker);
    this.listener.disconnected(worker, why);
  }
}
