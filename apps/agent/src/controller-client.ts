/** The agent API over HTTP (fetch keeps connections alive). Every answer is checked against the wire schemas. */
import type {
  AckAnswer,
  AckRequest,
  AssignmentsAnswer,
  Registration,
  RegistrationAnswer,
  Report,
  ReportAnswer,
} from "@fulcrum/contracts/agent-api.js";
import { FEATURES_HEADER, TRACEPARENT_FEATURE } from "@fulcrum/contracts/agent-api.js";
import { agentRoutes } from "@fulcrum/contracts/agent-routes.js";
import { type Problem, problem } from "@fulcrum/contracts/problem.js";
import type { z } from "zod";
import { withDeadline } from "./deadline.js";
import { type Fetch, tlsAdvice } from "./tls-fetch.js";

/** 256 instances with their assignments take some 100 KB. */
const MAX_ANSWER_BYTES = 10_000_000;

/**
 * `away`: not heard, or it said that it cannot serve now (5xx, 429): worth trying again.
 * `refused`: it answered with a problem. `bad_answer`: what came is not the agent API.
 */
export class ControllerError extends Error {
  override readonly name = "ControllerError";
  constructor(
    readonly kind: "away" | "refused" | "bad_answer",
    message: string,
    readonly status: number | null = null,
    readonly problem: Problem | null = null,
  ) {
    super(message);
  }
}

export interface ControllerClientOptions {
  readonly url: string;
  readonly requestTimeoutMs: number;
  /** Asked before every request: a key that was replaced is picked up without a restart. */
  readonly key: () => string;
  /** Absent: the usual one. */
  readonly fetch?: Fetch;
}

export interface PollAnswer {
  /** null: nothing changed since the ETag. */
  readonly answer: AssignmentsAnswer | null;
  readonly etag: string | null;
}

interface Call {
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

interface Heard {
  readonly status: number;
  readonly text: string;
  readonly etag: string | null;
}

/** Each call throws ControllerError. */
export class ControllerClient {
  constructor(private readonly options: ControllerClientOptions) {}

  register(body: Registration): Promise<RegistrationAnswer> {
    return this.post(agentRoutes.register.path, body, agentRoutes.register.answer);
  }

  report(body: Report): Promise<ReportAnswer> {
    return this.post(agentRoutes.report.path, body, agentRoutes.report.answer);
  }

  /** `traceparent`: of the change that all of them are of, where it came with one. */
  acknowledge(body: AckRequest, traceparent: string | null = null): Promise<AckAnswer> {
    const headers: Record<string, string> = traceparent === null ? {} : { traceparent };
    return this.post(agentRoutes.acknowledge.path, body, agentRoutes.acknowledge.answer, headers);
  }

  /** Waits up to `waitMs` for assignments that differ from those of `etag`. */
  async pollAssignments(of: {
    readonly agent: string;
    readonly waitMs: number;
    readonly etag: string | null;
    readonly signal: AbortSignal;
  }): Promise<PollAnswer> {
    const { agent, waitMs, etag, signal } = of;
    const query = new URLSearchParams({ agent, waitMs: String(Math.round(waitMs)) });
    const {
      status,
      text,
      etag: newEtag,
    } = await this.call({
      path: `${agentRoutes.getAssignments.path}?${query.toString()}`,
      headers: etag === null ? {} : { "if-none-match": etag },
      timeoutMs: waitMs + this.options.requestTimeoutMs,
      signal,
    });
    if (status === 304) return { answer: null, etag };
    return {
      answer: checked(agentRoutes.getAssignments.answer, text),
      etag: newEtag,
    };
  }

  private async post<T>(
    path: string,
    body: unknown,
    shape: z.ZodType<T>,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<T> {
    const { text } = await this.call({ path, body, headers });
    return checked(shape, text);
  }

  private async call(call: Call): Promise<Heard> {
    const limitMs = call.timeoutMs ?? this.options.requestTimeoutMs;
    let heard: Heard;
    try {
      heard = await withDeadline({ limitMs, outer: call.signal }, (signal) => this.send(call, signal));
    } catch (error) {
      if (error instanceof ControllerError) throw error;
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      const advice = tlsAdvice(cause);
      throw new ControllerError("away", `${call.path}: ${String(cause)}${advice ? ` (${advice})` : ""}`);
    }
    if (heard.status < 300 || heard.status === 304) return heard;
    throw refusal(call.path, heard.status, heard.text);
  }

  private async send(call: Call, signal: AbortSignal): Promise<Heard> {
    const { url, key, fetch: send = fetch } = this.options;
    const hasBody = call.body !== undefined;
    const response = await send(`${url.replace(/\/+$/, "")}${call.path}`, {
      method: hasBody ? "POST" : "GET",
      headers: {
        authorization: `Bearer ${key()}`,
        accept: "application/json",
        [FEATURES_HEADER]: TRACEPARENT_FEATURE,
        ...(hasBody ? { "content-type": "application/json" } : {}),
        ...call.headers,
      },
      ...(hasBody ? { body: JSON.stringify(call.body) } : {}),
      redirect: "error",
      signal,
    });
    const text = await readBounded(response);
    return { status: response.status, text, etag: response.headers.get("etag") };
  }
}

function refusal(path: string, status: number, text: string): ControllerError {
  const kind = status >= 500 || status === 429 || status === 408 ? "away" : "refused";
  const parsed = problem.safeParse(json(text));
  const detail = parsed.success ? `${parsed.data.code}: ${parsed.data.detail}` : text.slice(0, 200);
  return new ControllerError(
    kind,
    `${path} answered ${status} ${detail}`,
    status,
    parsed.success ? parsed.data : null,
  );
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MAX_ANSWER_BYTES) {
      throw new ControllerError("bad_answer", `the controller answered more than ${MAX_ANSWER_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function checked<T>(shape: z.ZodType<T>, text: string): T {
  const parsed = shape.safeParse(json(text));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue?.path.join(".") || "the body";
  throw new ControllerError(
    "bad_answer",
    `the controller's answer is not valid: ${where}: ${issue?.message}`,
  );
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
