/** A gateway's admission cap as docs/engines.md tells it, over HTTP: fences by revision, and keeps the ledger. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export class FakeGateway {
  inFlightPromptTokens = 0;
  maxAdmittedPromptTokens: number | null = null;
  revision = 0;
  kvTokens: number | null = 100_000;
  bootId = "boot-1";
  readonly puts: unknown[] = [];
  /** Answers in its place, once per request, while set. */
  misbehave: ((response: ServerResponse) => void) | null = null;
  /** After a PUT is taken the answer is lost. */
  loseAnswers = false;
  /** A PUT is answered well and the cap stays. */
  takesNothing = false;

  private constructor(private readonly server: Server) {}

  static async start(): Promise<FakeGateway> {
    const server = createServer();
    const gateway = new FakeGateway(server);
    server.on("request", (request: IncomingMessage, response: ServerResponse) =>
      gateway.answer(request, response),
    );
    await new Promise<void>((resolve) => {
      server.listen(0, "127.0.0.1", resolve);
    });
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/admission-cap`;
  }

  /** Begins anew: the cap is gone. */
  restart(): void {
    this.bootId = `${this.bootId}+`;
    this.revision = 0;
    this.maxAdmittedPromptTokens = null;
  }

  stop(): Promise<void> {
    this.server.closeAllConnections();
    return new Promise((resolve) => {
      this.server.close(() => resolve());
    });
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    if (this.misbehave) return this.misbehave(response);
    if (request.method === "GET") return this.send(response, 200, this.state());
    let text = "";
    request.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    request.on("end", () => {
      const body = JSON.parse(text) as { revision: number; maxAdmittedPromptTokens: number | null };
      this.puts.push(body);
      if (body.revision < this.revision) {
        const message = `revision ${body.revision} is below ${this.revision}`;
        return this.send(response, 409, { code: "stale_revision", message });
      }
      this.revision = body.revision;
      if (!this.takesNothing) this.maxAdmittedPromptTokens = body.maxAdmittedPromptTokens;
      if (this.loseAnswers) return void response.destroy();
      return this.send(response, 200, this.state());
    });
  }

  private state(): Record<string, unknown> {
    const { revision, maxAdmittedPromptTokens, inFlightPromptTokens, kvTokens, bootId } = this;
    return { revision, maxAdmittedPromptTokens, inFlightPromptTokens, kvTokens, bootId };
  }

  private send(response: ServerResponse, status: number, body: Record<string, unknown>): void {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  }
}
