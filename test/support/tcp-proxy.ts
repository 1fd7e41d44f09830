import { connect, createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";

/** Stands between a client and its server, so that a test can take the server away and bring it back. */
export class TcpProxy {
  private readonly sockets = new Set<Socket>();
  private server: Server | null = null;
  /** Connections that clients have opened or tried to open, since the proxy was made. */
  accepted = 0;
  private cut = false;

  private constructor(
    private readonly target: { host: string; port: number },
    readonly port: number,
  ) {}

  static async to(host: string, port: number): Promise<TcpProxy> {
    const probe = createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    const free = (probe.address() as { port: number }).port;
    probe.close();
    await once(probe, "close");
    const proxy = new TcpProxy({ host, port }, free);
    proxy.server = createServer((socket) => proxy.carry(socket)).listen(free, "127.0.0.1");
    await once(proxy.server, "listening");
    return proxy;
  }

  /** From now on every connection is cut, and new ones are as soon as they come. */
  takeAway(): void {
    this.cut = true;
    for (const socket of this.sockets) socket.destroy();
  }

  bringBack(): void {
    this.cut = false;
  }

  async close(): Promise<void> {
    this.takeAway();
    this.server?.close();
    if (this.server) await once(this.server, "close");
  }

  private carry(client: Socket): void {
    this.accepted += 1;
    if (this.cut) {
      client.destroy();
      return;
    }
    const upstream = connect(this.target.port, this.target.host);
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.sockets.add(one);
      one.pipe(other);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        this.sockets.delete(one);
        other.destroy();
      });
    }
  }
}
