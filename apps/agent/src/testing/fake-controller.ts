/** The controller's agent API over real HTTP, with its answers in the hands of the test. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import {
  type Ack,
  ackRequest,
  type Assignment,
  type Registration,
  registration,
  type Report,
  report,
} from "@fulcrum/contracts/agent-api.js";
import type { Allocation } from "@fulcrum/core/nouns.js";

export interface Refused {
  readonly status: number;
  readonly code: string;
}

export class FakeController {
  /** Said to every instance that registers. */
  warnings: readonly string[] | null = null;
  readonly registrations: Registration[] = [];
  readonly reports: Report[] = [];
  readonly acks: Ack[] = [];
  readonly keys = new Set<string>();
  /** The header `traceparent` of each request that acknowledged something. */
  readonly ackTraces = new Set<string | null>();
  readonly assignments = new Map<string, Assignment>();
  /** Instances that are answered with a rejection of this code. */
  readonly rejecting = new Map<string, string>();
  /** Windows taken, by instance. */
  readonly windows = new Map<string, Report["instances"][number]["windows"]>();
  /** Answer to every request while set. */
  refusing: Refused | null = null;
  ackOutcome: "applied" | "stale" = "applied";

  private server: Server | null = null;
  private port = 0;
  private onRefusal = (): void => undefined;
  private version = 1;
  private watchers: (() => void)[] = [];
  private readonly polls = new Set<() => void>();

  async start(): Promise<void> {
    const server = createServer((request, response) => {
      this.serve(request, response).catch((error: unknown) => {
        response.statusCode = 500;
        response.end(String(error));
      });
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.port, "127.0.0.1", resolve);
    });
    this.port = (server.address() as AddressInfo).port;
    this.server = server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    const server = this.server;
    this.server = null;
    for (const wake of this.polls) wake();
    server?.closeAllConnections();
    await new Promise((resolve) => {
      if (server) server.close(resolve);
      else resolve(undefined);
    });
  }

  assign(
    instance: string,
    generation: number,
    allocation: Allocation,
    attempt = 1,
    traced: Pick<Assignment, "traceparent"> = {},
  ): void {
    const issuedAtMs = Date.now();
    const asked = { instance, generation, attempt, allocation, reason: "test", issuedAtMs };
    this.assignments.set(instance, { ...asked, ...traced });
    this.version += 1;
    for (const wake of this.polls) wake();
  }

  whenRefused(then: () => void): void {
    this.onRefusal = then;
  }

  lastSeq(instance: string): number {
    return this.windows.get(instance)?.at(-1)?.seq ?? 0;
  }

  /** Resolves when the condition holds, looked at after every request; rejects after `limitMs`. */
  async until(condition: () => boolean, what: string, limitMs = 20_000): Promise<void> {
    const endAtMs = Date.now() + limitMs;
    while (!condition()) {
      if (Date.now() > endAtMs) throw new Error(`not within ${limitMs} ms: ${what}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 100);
        this.watchers.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://localhost");
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString("utf8");
    this.keys.add(request.headers.authorization ?? "");
    if (this.refusing) {
      this.problem(response, this.refusing);
      this.onRefusal();
      return;
    }
    const body: unknown = text === "" ? null : JSON.parse(text);
    if (url.pathname === "/agent/v1/register") this.send(response, this.register(registration.parse(body)));
    else if (url.pathname === "/agent/v1/report") this.send(response, this.report(report.parse(body)));
    else if (url.pathname === "/agent/v1/acks") {
      const { acks } = ackRequest.parse(body);
      this.acks.push(...acks);
      const { traceparent } = request.headers;
      this.ackTraces.add(typeof traceparent === "string" ? traceparent : null);
      const results = acks.map(({ instance, rank, generation }) => ({
        instance,
        rank,
        generation,
        outcome: this.ackOutcome,
      }));
      this.send(response, { results });
    } else await this.poll(url, request, response);
    const watchers = this.watchers;
    this.watchers = [];
    for (const wake of watchers) wake();
  }

  private register(body: Registration): unknown {
    this.registrations.push(body);
    const taken = body.instances.filter(({ instance }) => !this.rejecting.has(instance));
    return {
      instances: taken.map(({ instance, running }) => {
        if (!this.assignments.has(instance)) this.assign(instance, 0, running);
        return {
          instance,
          lastSeq: this.lastSeq(instance),
          assignment: this.assignments.get(instance),
          ...(this.warnings && { warnings: this.warnings }),
        };
      }),
      rejected: this.rejections(body.instances),
      clockSkewMs: 0,
    };
  }

  private report(body: Report): unknown {
    this.reports.push(body);
    const accepted: { instance: string; lastSeq: number }[] = [];
    for (const { instance, windows } of body.instances) {
      if (this.rejecting.has(instance)) continue;
      const known = this.windows.get(instance) ?? [];
      const newer = windows.filter(({ seq }) => seq > this.lastSeq(instance));
      this.windows.set(instance, [...known, ...newer]);
      accepted.push({ instance, lastSeq: this.lastSeq(instance) });
    }
    return {
      accepted,
      rejected: this.rejections(body.instances),
      assignments: [...this.assignments.values()].filter(({ generation }) => generation > 0),
      clockSkewMs: 0,
    };
  }

  private rejections(instances: readonly { readonly instance: string }[]): unknown[] {
    return instances
      .filter(({ instance }) => this.rejecting.has(instance))
      .map(({ instance }) => ({ instance, code: this.rejecting.get(instance), field: null, detail: "test" }));
  }

  private async poll(url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const waitMs = Number(url.searchParams.get("waitMs"));
    if (request.headers["if-none-match"] === `"${this.version}"`) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        const wake = (): void => {
          clearTimeout(timer);
          this.polls.delete(wake);
          resolve();
        };
        this.polls.add(wake);
      });
    }
    response.setHeader("etag", `"${this.version}"`);
    if (request.headers["if-none-match"] === `"${this.version}"`) {
      response.statusCode = 304;
      response.end();
      return;
    }
    this.send(response, { assignments: [...this.assignments.values()] });
  }

  private send(response: ServerResponse, body: unknown): void {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(body));
  }

  private problem(response: ServerResponse, { status, code }: Refused): void {
    response.statusCode = status;
    const problem = { type: `urn:fulcrum:problem:${code}`, title: code, status, detail: "test", code };
    response.setHeader("content-type", "application/problem+json");
    response.end(JSON.stringify(problem));
  }
}
