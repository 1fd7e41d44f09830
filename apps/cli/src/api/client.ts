import { type Fetch, tlsAdvice } from "@fulcrum/agent/tls-fetch.js";
import { problem, type Problem } from "@fulcrum/contracts/problem.js";
import type { Route } from "@fulcrum/contracts/route.js";
import { routes, type RouteName } from "@fulcrum/contracts/routes.js";
import type { z } from "zod";
import { CliFailure, EXIT, failed, usageError } from "../failure.js";

const TIMEOUT_MS = 10_000;
/** The longest answer that is read: a full page of 500 decisions is below 2 MB. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;

type Table = typeof routes;

/** `{params: …}` where the route has params, nothing where it has none; so for query and body. */
type Part<N extends RouteName, Field extends "params" | "query" | "body"> = Table[N] extends {
  readonly [F in Field]: infer S extends z.ZodType;
}
  ? { readonly [F in Field]: z.input<S> }
  : unknown;

export type ApiRequest<N extends RouteName> = Part<N, "params"> &
  Partial<Part<N, "query">> &
  Part<N, "body"> & { readonly ifMatch?: string };

/** A body as it may be sent: what has a default may be left out. */
export type ApiBody<N extends RouteName> = ApiRequest<N> extends { readonly body: infer B } ? B : never;

export type Answer<N extends RouteName> = Table[N]["answer"] extends infer S extends z.ZodType
  ? z.output<S>
  : null;

export interface Reply<N extends RouteName> {
  readonly body: Answer<N>;
  /** The JSON as it came, for `--json`. */
  readonly raw: unknown;
  readonly etag: string | null;
}

/** The controller understood and said no. */
export class Refusal extends CliFailure {
  constructor(
    readonly status: number,
    readonly problem: Problem | null,
    readonly request: { readonly route: RouteName; readonly names: Readonly<Record<string, string>> },
    message: string,
    details: readonly string[] = [],
  ) {
    super(EXIT.failed, message, details);
    this.name = "Refusal";
  }
}

/** No answer came: nobody listens there, or not within the limit. */
export class Unreachable extends CliFailure {
  constructor(message: string, details: readonly string[] = []) {
    super(EXIT.unreachable, message, details);
    this.name = "Unreachable";
  }
}

/** Calls the controller by the route table: paths, statuses and shapes come from there. */
export class ApiClient {
  readonly url: string;
  private readonly key: string | null;
  private readonly timeoutMs: number;
  private readonly fetch: Fetch;

  constructor(options: { url: string; key: string | null; timeoutMs?: number; fetch?: Fetch }) {
    this.url = options.url.replace(/\/+$/, "");
    this.key = options.key;
    this.timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.fetch = options.fetch ?? fetch;
  }

  /**
   * @throws Refusal when the controller says no, Unreachable when no answer comes within 10 s,
   *   CliFailure when a path parameter cannot be right or the answer is not of the expected shape.
   */
  async call<N extends RouteName>(name: N, request: ApiRequest<N>): Promise<Reply<N>> {
    const route: Route = routes[name];
    const parts = request as Untyped;
    const response = await this.send(route, pathOf(name, route, parts.params ?? {}), parts);
    const raw = parsed(response.text);
    if (response.status !== route.status) {
      const names = stringsOf({ ...parts.query, ...parts.params });
      throw refusal(response.status, raw, { route: name, names });
    }
    return {
      body: (route.answer === null ? null : checked(route, raw)) as Answer<N>,
      raw,
      etag: response.etag,
    };
  }

  private async send(route: Route, path: string, parts: Untyped) {
    const url = `${this.url}${path}${queryOf(parts.query ?? {})}`;
    const headers: Record<string, string> = { accept: "application/json" };
    if (this.key !== null) headers["authorization"] = `Bearer ${this.key}`;
    if (parts.ifMatch !== undefined) headers["if-match"] = parts.ifMatch;
    if (parts.body !== undefined) headers["content-type"] = "application/json";
    try {
      const response = await this.fetch(url, {
        method: route.method,
        headers,
        body: parts.body === undefined ? null : JSON.stringify(parts.body),
        redirect: "error",
        signal: AbortSignal.timeout(this.timeoutMs),
      });
      const etag = response.headers.get("etag");
      return { status: response.status, etag, text: await boundedText(response) };
    } catch (error) {
      if (error instanceof CliFailure) throw error;
      throw this.unreachable(error);
    }
  }

  private unreachable(error: unknown): Unreachable {
    const reason =
      error instanceof Error && error.name === "TimeoutError"
        ? `no answer within ${this.timeoutMs / 1_000} s`
        : rootCause(error);
    const advice =
      tlsAdvice(deepest(error)) === null
        ? "Is it running? `fulcrum up` starts one here; --url or FULCRUM_URL names another."
        : "--url or FULCRUM_URL names its address; --ca-file (before the command) or FULCRUM_CA_FILE its CA.";
    return new Unreachable(`cannot reach the controller at ${this.url}: ${reason}`, [advice]);
  }
}

interface Untyped {
  readonly params?: Readonly<Record<string, unknown>>;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
  readonly ifMatch?: string;
}

function pathOf(name: RouteName, route: Route, params: Readonly<Record<string, unknown>>): string {
  const check = route.params?.safeParse(params);
  if (check?.success === false) {
    const lines = check.error.issues.map(
      (issue) =>
        `${issue.path.join(".")} ${JSON.stringify(params[String(issue.path[0])])}: ${plain(issue.message)}`,
    );
    throw usageError(lines.join("; "));
  }
  return route.path.replace(/:([a-zA-Z]+)/g, (_, key: string) => {
    const value = params[key];
    if (typeof value !== "string") throw new TypeError(`route ${name} needs the parameter ${key}`);
    return encodeURIComponent(value);
  });
}

function queryOf(query: Readonly<Record<string, unknown>>): string {
  const search = new URLSearchParams(stringsOf(query)).toString();
  return search === "" ? "" : `?${search}`;
}

function stringsOf(values: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values)
      .filter(([, value]) => typeof value === "string" || typeof value === "number")
      .map(([key, value]) => [key, String(value)]),
  );
}

async function boundedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MAX_ANSWER_BYTES)
      throw failed(`the controller's answer is over ${MAX_ANSWER_BYTES / 1_048_576} MiB`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parsed(text: string): unknown {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function checked(route: Route, raw: unknown): unknown {
  const result = route.answer?.safeParse(raw);
  if (result?.success) return result.data;
  const [issue] = result?.error.issues ?? [];
  const where = issue === undefined || issue.path.length === 0 ? "the answer" : issue.path.join(".");
  throw failed(
    `the controller answered ${route.method} ${route.path} in a shape this fulcrum does not know`,
    [
      `${where}: ${plain(issue?.message ?? "not JSON")}`,
      "Is --url a Fulcrum controller, and of the same version?",
    ],
  );
}

function refusal(status: number, raw: unknown, request: Refusal["request"]): Refusal {
  const result = problem.safeParse(raw);
  if (!result.success) {
    return new Refusal(status, null, request, `the controller answered HTTP ${status}`, [
      "Is --url a Fulcrum controller?",
    ]);
  }
  const told = result.data;
  const [only, ...more] = (told.errors ?? []).map(({ field, message }) => sentence(`${field}: ${message}`));
  const said = sentence(told.detail || told.title);
  const advice = adviceFor(told.code);
  // The detail repeats the fields in one long line: one sentence per field reads better.
  if (only === undefined) return new Refusal(status, told, request, said, advice);
  if (more.length === 0) return new Refusal(status, told, request, only, advice);
  return new Refusal(status, told, request, sentence(told.title), [only, ...more, ...advice]);
}

function adviceFor(code: string): string[] {
  if (code === "unauthenticated") {
    return [
      "Give a key with --key or FULCRUM_KEY. `fulcrum up` keeps its own in a file that is read by itself.",
    ];
  }
  if (code === "forbidden") {
    return ["A key with a higher role is needed: viewer reads, operator changes, admin also manages keys."];
  }
  return [];
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function plain(message: string): string {
  return message.replace(/^Invalid string: /, "");
}

function deepest(error: unknown): unknown {
  let cause: unknown = error;
  // fetch() wraps the reason once or twice: "fetch failed" <- AggregateError <- ECONNREFUSED.
  for (let depth = 0; depth < 4 && cause instanceof Error && cause.cause !== undefined; depth += 1) {
    cause = cause.cause;
  }
  return cause instanceof AggregateError && cause.errors.length > 0 ? cause.errors[0] : cause;
}

function rootCause(error: unknown): string {
  const cause = deepest(error);
  const code = (cause as { code?: unknown } | null)?.code;
  if (code === "ECONNREFUSED") return "nobody listens there (connection refused)";
  if (code === "ENOTFOUND") return "no such host";
  const advice = tlsAdvice(cause);
  if (advice !== null) return `${advice} (${String(code)})`;
  return cause instanceof Error ? cause.message || String(code) : String(cause);
}
