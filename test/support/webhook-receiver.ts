import { createHmac, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** The target of webhooks: it keeps what it got, and answers what it is told to. */
export class WebhookReceiver {
  readonly received: Received[] = [];
  /** null: it never answers. */
  reply: Reply | null = { status: 204 };
  /** Requests that wait for an answer at a time, the most there were, by path. */
  readonly mostOpen = new Map<string, number>();
  private readonly open = new Map<string, number>();
  private server: Server | null = null;
  private port = 0;

  get url(): string {
    return `http://127.0.0.1:${this.port}/hook`;
  }

  /** Listens; again on the same port after a stop. */
  async start(): Promise<this> {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      const path = request.url ?? "";
      const open = (this.open.get(path) ?? 0) + 1;
      this.open.set(path, open);
      this.mostOpen.set(path, Math.max(this.mostOpen.get(path) ?? 0, open));
      response.on("close", () => this.open.set(path, this.open.get(path)! - 1));
      request.on("end", () => {
        const body = Buffer.concat(chunks).toString("utf8");
        this.received.push({ path, headers: request.headers, body });
        if (!this.reply) return;
        response.writeHead(this.reply.status, this.reply.headers);
        response.end(this.reply.body);
      });
    });
    this.server = server;
    server.listen(this.port, "127.0.0.1");
    await once(server, "listening");
    this.port = (server.address() as AddressInfo).port;
    return this;
  }

  async stop(): Promise<void> {
    const { server } = this;
    this.server = null;
    if (!server) return;
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  }

  /** Ids of the messages of that type, in the order in which they came. */
  idsOf(type: string): string[] {
    return this.received
      .filter(({ body }) => typeOf(body) === type)
      .map(({ headers }) => String(headers["webhook-id"]));
  }
}

export function typeOf(body: string): string {
  return (JSON.parse(body) as { type: string }).type;
}

/** A receiver's clock may differ by so much, says the specification's libraries. */
const TOLERANCE_S = 300;

/**
 * Checks a message as the specification of Standard Webhooks tells a receiver to, from its text and not from the sender's code.
 * @throws Error that says what is wrong
 */
export function verify(secret: string, { headers, body }: Received, nowMs: number = Date.now()): void {
  const [id, timestamp, signatures] = ["id", "timestamp", "signature"].map(
    (part) => headers[`webhook-${part}`],
  );
  if (typeof id !== "string" || typeof timestamp !== "string" || typeof signatures !== "string")
    throw new Error("a header is missing");
  if (!/^\d+$/.test(timestamp)) throw new Error("the timestamp is no number of seconds");
  if (Math.abs(nowMs / 1_000 - Number(timestamp)) > TOLERANCE_S) throw new Error("the timestamp is too old");
  const [, base64] = /^whsec_(.+)$/.exec(secret) ?? [];
  const key = Buffer.from(base64 ?? "", "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest();
  const given = signatures.split(" ").flatMap((each) => {
    const [version, signature] = each.split(",");
    return version === "v1" && signature ? [Buffer.from(signature, "base64")] : [];
  });
  const matches = given.some((one) => one.length === expected.length && timingSafeEqual(one, expected));
  if (!matches) throw new Error("no signature matches");
}
