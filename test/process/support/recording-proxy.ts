/** Stands between agents and controllers, as a load balancer would, and keeps what was asked and answered. */
import { once } from "node:events";
import {
  type Agent,
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";

const MAX_KEPT = 20_000;

export interface Exchange {
  readonly path: string;
  readonly sent: Record<string, unknown> | null;
  readonly status: number;
  readonly answer: Record<string, unknown> | null;
  /** Which of the targets answered. */
  readonly target: string;
}

interface ReportBody {
  readonly instances: readonly {
    instance: string;
    windows: readonly { seq: number }[];
    conditions: string[];
  }[];
}

interface AckBody {
  readonly acks: readonly {
    instance: string;
    rank: number;
    generation: number;
    attempt: number;
    step: string;
  }[];
}

export class RecordingProxy {
  readonly exchanges: Exchange[] = [];
  /** Tried in order; one that refuses the connection is passed over. */
  targets: string[];

  private constructor(
    private readonly server: Server,
    targets: readonly string[],
  ) {
    this.targets = [...targets];
  }

  static async to(...targets: string[]): Promise<RecordingProxy> {
    const server = createServer();
    const proxy = new RecordingProxy(server, targets);
    server.on("request", (incoming: IncomingMessage, outgoing: ServerResponse) => {
      proxy.carry(incoming, outgoing).catch(() => outgoing.destroy());
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }

  /** The numbers of the windows of an instance in reports that were answered 2xx, in order, each once. */
  answeredWindows(instance: string): number[] {
    const numbers = this.answered("/agent/v1/report").flatMap(({ sent }) =>
      (sent as unknown as ReportBody).instances
        .filter((part) => part.instance === instance)
        .flatMap(({ windows }) => windows.map(({ seq }) => seq)),
    );
    return [...new Set(numbers)].sort((a, b) => a - b);
  }

  /** `rank:generation:attempt:step` of each acknowledgement that was answered 2xx, in order. */
  acks(instance: string): string[] {
    return this.answered("/agent/v1/acks").flatMap(({ sent }) =>
      (sent as unknown as AckBody).acks
        .filter((ack) => ack.instance === instance)
        .map(({ rank, generation, attempt, step }) => `${rank}:${generation}:${attempt}:${step}`),
    );
  }

  /** Conditions told of an instance in reports that were answered 2xx. */
  conditions(instance: string): ReadonlySet<string> {
    return new Set(
      this.answered("/agent/v1/report").flatMap(({ sent }) =>
        (sent as unknown as ReportBody).instances
          .filter((part) => part.instance === instance)
          .flatMap(({ conditions }) => conditions),
      ),
    );
  }

  answered(path: string): Exchange[] {
    return this.exchanges.filter((each) => each.path === path && each.status >= 200 && each.status < 300);
  }

  private async carry(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body = await read(incoming);
    for (const target of this.targets) {
      const reply = await forward(target, incoming, body, outgoing).catch((error: NodeJS.ErrnoException) => {
        // Only what never reached a controller may be sent to another one.
        if (error.code === "ECONNREFUSED") return null;
        throw error;
      });
      if (reply === null) continue;
      if (this.exchanges.length < MAX_KEPT) {
        const path = (incoming.url ?? "").split("?")[0] ?? "";
        this.exchanges.push({
          path,
          sent: json(body),
          status: reply.status,
          answer: json(reply.text),
          target,
        });
      }
      outgoing.writeHead(reply.status, reply.headers).end(reply.text);
      return;
    }
    outgoing.destroy();
  }
}

interface Reply {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly text: string;
}

/** Each on a connection of its own: whether it was refused is then beyond doubt. */
const NO_KEEP_ALIVE = false as unknown as Agent;

async function forward(
  target: string,
  incoming: IncomingMessage,
  body: string,
  outgoing: ServerResponse,
): Promise<Reply> {
  const { host: _host, connection: _connection, ...headers } = incoming.headers;
  const upstream = request(new URL(incoming.url ?? "/", target), {
    method: incoming.method,
    headers,
    agent: NO_KEEP_ALIVE,
  });
  // A client that gives up its long poll gives it up at the controller too.
  outgoing.once("close", () => upstream.destroy());
  upstream.end(body);
  const [response] = (await once(upstream, "response")) as [IncomingMessage];
  const text = await read(response);
  const kept: Record<string, string> = {};
  for (const name of ["content-type", "etag", "retry-after"]) {
    const value = response.headers[name];
    if (typeof value === "string") kept[name] = value;
  }
  return { status: response.statusCode ?? 0, headers: kept, text };
}

async function read(stream: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of stream) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString("utf8");
}

function json(text: string): Record<string, unknown> | null {
  try {
    return text === "" ? null : (JSON.parse(text) as Record<string, unknown>);
  } catch {
    return null;
  }
}
