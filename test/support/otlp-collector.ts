/** A collector on this machine that takes OTLP over HTTP as JSON and keeps what it gets. */
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface CollectedSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  /** 2: error. */
  readonly status: number;
}

interface WireSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[];
  readonly status?: { readonly code?: number };
}

interface WireBody {
  readonly resourceSpans: { readonly scopeSpans: { readonly spans: WireSpan[] }[] }[];
}

export class OtlpCollector {
  readonly spans: CollectedSpan[] = [];
  readonly headers: IncomingMessage["headers"][] = [];
  url = "";
  private server: Server | null = null;

  async start(): Promise<this> {
    this.server = createServer((request, response) => {
      void this.take(request).then((status) => response.writeHead(status).end("{}"));
    });
    await new Promise<void>((resolve) => this.server?.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    return this;
  }

  async stop(): Promise<void> {
    this.server?.closeAllConnections();
    await new Promise((resolve) => this.server?.close(resolve));
  }

  named(name: string): CollectedSpan[] {
    return this.spans.filter((span) => span.name === name);
  }

  private async take(request: IncomingMessage): Promise<number> {
    let text = "";
    for await (const chunk of request) text += String(chunk);
    if (request.url !== "/v1/traces") return 404;
    this.headers.push(request.headers);
    const body = JSON.parse(text) as WireBody;
    for (const { scopeSpans } of body.resourceSpans)
      for (const { spans } of scopeSpans) this.spans.push(...spans.map(toCollected));
    return 200;
  }
}

function toCollected(span: WireSpan): CollectedSpan {
  return {
    name: span.name,
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId ?? "",
    startMs: Number(span.startTimeUnixNano) / 1e6,
    endMs: Number(span.endTimeUnixNano) / 1e6,
    attributes: Object.fromEntries(span.attributes.map(({ key, value }) => [key, Object.values(value)[0]])),
    status: span.status?.code ?? 0,
  };
}
