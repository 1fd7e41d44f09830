import { traceparent as traceparentShape } from "@fulcrum/contracts/agent-api.js";
import { Inject, Injectable, type OnApplicationShutdown } from "@nestjs/common";
import {
  type Attributes,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Tracer,
} from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, type SpanExporter, TracerProvider } from "@opentelemetry/sdk-trace";
import type { Logger } from "pino";
import { CONFIG, type Config } from "../config.js";
import { VERSION } from "../version.js";
import { LOGGER } from "./logger.js";

/** Spans that wait for the collector; past this many new ones are dropped. A rollout has about ten. */
const MAX_WAITING = 2_048;
const MAX_BATCH = 256;
const EXPORT_EVERY_MS = 1_000;
const EXPORT_TIMEOUT_MS = 5_000;
/** What still waits at a stop gets so long. */
const LAST_EXPORT_MS = 2_000;

export interface SpanStart {
  readonly name: string;
  /** The span above it, as a W3C traceparent; null: it begins a trace. */
  readonly parent: string | null;
  readonly startMs: number;
  readonly attributes?: Attributes;
}

export interface OpenSpan {
  /** For what hangs below it, here or elsewhere. */
  readonly traceparent: string;
  /** `fault`: why it did not do what it was for. */
  end(endMs: number, attributes?: Attributes, fault?: string | null): void;
}

/** Spans over OTLP, told when what they are of has happened; nothing at all while no collector is named. */
@Injectable()
export class Tracing implements OnApplicationShutdown {
  private readonly provider: TracerProvider | null = null;
  private readonly tracer: Tracer | null = null;

  constructor(@Inject(CONFIG) config: Config, @Inject(LOGGER) logger: Logger) {
    if (!config.tracing) return;
    const { endpoint, headers, serviceName } = config.tracing;
    const exporter = new OTLPTraceExporter({
      url: `${endpoint.replace(/\/+$/, "")}/v1/traces`,
      headers: { ...headers },
      timeoutMillis: EXPORT_TIMEOUT_MS,
    });
    this.provider = new TracerProvider({
      resource: resourceFromAttributes({ "service.name": serviceName, "service.version": VERSION }),
      spanProcessors: [
        new BatchSpanProcessor({
          exporter: toldOnce(exporter, logger),
          maxQueueSize: MAX_WAITING,
          maxExportBatchSize: MAX_BATCH,
          scheduledDelayMillis: EXPORT_EVERY_MS,
          exportTimeoutMillis: EXPORT_TIMEOUT_MS,
        }),
      ],
    });
    this.tracer = this.provider.getTracer("fulcrum", VERSION);
  }

  /** null while tracing is off. */
  start({ name, parent, startMs, attributes = {} }: SpanStart): OpenSpan | null {
    if (!this.tracer) return null;
    const above = parent === null ? null : contextOf(parent);
    const context = above ? trace.setSpanContext(ROOT_CONTEXT, above) : ROOT_CONTEXT;
    const options = { startTime: startMs, kind: SpanKind.INTERNAL, attributes };
    const span = this.tracer.startSpan(name, options, context);
    return {
      traceparent: traceparentOf(span),
      end: (endMs, more = {}, fault = null) => {
        span.setAttributes(more);
        if (fault !== null) span.setStatus({ code: SpanStatusCode.ERROR, message: fault });
        span.end(Math.max(startMs, endMs));
      },
    };
  }

  /** A span of something that is over. */
  record(of: SpanStart & { readonly endMs: number; readonly fault?: string | null }): void {
    this.start(of)?.end(of.endMs, {}, of.fault ?? null);
  }

  async onApplicationShutdown(): Promise<void> {
    if (!this.provider) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, LAST_EXPORT_MS);
    });
    await Promise.race([this.provider.shutdown().catch(() => undefined), late]);
    clearTimeout(timer);
  }
}

/** A collector that is away is told of once, and once that it is back. */
function toldOnce(exporter: SpanExporter, logger: Logger): SpanExporter {
  let failing = false;
  return {
    export: (spans, done) =>
      exporter.export(spans, (result) => {
        const failed = result.error !== undefined;
        if (failed && !failing) logger.warn({ event: "traces_not_exported", err: result.error });
        if (!failed && failing) logger.info({ event: "traces_exported_again" });
        failing = failed;
        done(result);
      }),
    shutdown: () => exporter.shutdown(),
    forceFlush: async () => exporter.forceFlush?.(),
  };
}

function traceparentOf(span: Span): string {
  const { traceId, spanId } = span.spanContext();
  return `00-${traceId}-${spanId}-01`;
}

function contextOf(traceparent: string) {
  const [, traceId = "", spanId = ""] = traceparent.split("-");
  return { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true };
}

/** What a header says, where it goes on the same trace as `ours`; else `ours`. */
export function goingOn(header: string | null, ours: string): string {
  const told = traceparentShape.safeParse(header);
  return told.success && told.data.slice(0, 35) === ours.slice(0, 35) ? told.data : ours;
}
