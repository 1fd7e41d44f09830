import "reflect-metadata";

import { createApp } from "@fulcrum/controller/create-app.js";
import { readConfig } from "@fulcrum/controller/config.js";
import { dataSourceOptions, openDatabase } from "@fulcrum/controller/db/data-source.js";
import { problem as problemSchema, type Problem } from "@fulcrum/contracts/problem.js";
import type { Role } from "@fulcrum/contracts/resources.js";
import type { Route } from "@fulcrum/contracts/route.js";
import { type RouteName, routes } from "@fulcrum/contracts/routes.js";
import type { NestFastifyApplication } from "@nestjs/platform-fastify";
import { pino } from "pino";
import type { DataSource } from "typeorm";
import { z } from "zod";

type Routes = typeof routes;
export type Answer<N extends RouteName> = Routes[N]["answer"] extends z.ZodType
  ? z.infer<Routes[N]["answer"]>
  : null;

export interface CallOptions {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string | number>>;
  readonly body?: unknown;
  /** When absent the bootstrap admin key, or for the agent API a key of any agent; null: none. */
  readonly key?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface Reply<N extends RouteName> {
  readonly status: number;
  readonly headers: Headers;
  /** Parsed with the route's own schema; null when it failed or has no body. */
  readonly body: Answer<N> | null;
  /** Parsed with the problem schema; null when it succeeded. */
  readonly problem: Problem | null;
}

export interface TestController {
  readonly url: string;
  readonly app: NestFastifyApplication;
  readonly source: DataSource;
  readonly adminKey: string;
  /** What it logged at warning and above, oldest first, at most MAX_LOGGED. */
  readonly logged: readonly LogLine[];
  /** Sends a request; every answer is held against its schema, whatever its status. */
  call<N extends RouteName>(name: N, options?: CallOptions): Promise<Reply<N>>;
  /** As call, but anything but success is an error that tells the problem. */
  ask<N extends RouteName>(name: N, options?: CallOptions): Promise<Answer<N>>;
  /** A key of that role; agent keys speak for any agent. Made once. */
  keyOf(role: Role): Promise<string>;
  /** A key bound to that agent. Made once. */
  agentKey(agent: string): Promise<string>;
  /** May be called again. */
  close(): Promise<void>;
}

export interface LogLine {
  readonly level: number;
  readonly event?: string;
  readonly msg?: string;
  readonly path?: string;
  readonly err?: { readonly message: string; readonly stack?: string };
}

const MAX_LOGGED = 1_000;
export const ADMIN_KEY = `fk_${"a".repeat(43)}`;

/** Starts the whole controller in this process on a free port. `env` is what its environment would say. */
export async function startController(
  databaseUrl: string,
  env: Readonly<Record<string, string>> = {},
): Promise<TestController> {
  const config = readConfig({
    DATABASE_URL: databaseUrl,
    PORT: "0",
    FULCRUM_BOOTSTRAP_ADMIN_KEY: ADMIN_KEY,
    FULCRUM_DB_POOL: "5",
    ...env,
  });
  const logged: LogLine[] = [];
  const sink = {
    write: (line: string) => void (logged.length < MAX_LOGGED && logged.push(JSON.parse(line))),
  };
  const logger = pino({ level: "warn" }, sink);
  const source = await openDatabase(dataSourceOptions(config.databaseUrl, config.dbPoolSize));
  const app = await createApp(config, logger, source);
  await app.listen(config.port, config.host);
  const url = (await app.getUrl()).replace(/\/$/, "");
  const call = async <N extends RouteName>(name: N, options: CallOptions = {}): Promise<Reply<N>> => {
    const usual = routes[name].role === "agent" ? () => keyFor("agent", { role: "agent" }) : () => ADMIN_KEY;
    return send(url, name, options, options.key === undefined ? await usual() : options.key);
  };
  const ask = async <N extends RouteName>(name: N, options: CallOptions = {}): Promise<Answer<N>> => {
    const reply = await call(name, options);
    if (reply.problem) throw new Error(`${name} answered ${reply.status}: ${JSON.stringify(reply.problem)}`);
    return reply.body as Answer<N>;
  };
  const keys = new Map<string, Promise<string>>();
  const keyFor = (name: string, body: { role: Role; agent?: string }) => {
    const made = keys.get(name) ?? ask("createKey", { body: { name, ...body } }).then(({ key }) => key);
    keys.set(name, made);
    return made;
  };
  let closing: Promise<void> | undefined;
  return {
    url,
    app,
    source,
    adminKey: ADMIN_KEY,
    logged,
    call,
    ask,
    keyOf: (role) => keyFor(role, { role }),
    agentKey: (agent) => keyFor(`agent ${agent}`, { role: "agent", agent }),
    close: () => (closing ??= app.close().then(() => source.destroy())),
  };
}

async function send<N extends RouteName>(
  url: string,
  name: N,
  options: CallOptions,
  key: string | null,
): Promise<Reply<N>> {
  const route: Route = routes[name];
  const path = route.path.replace(/:([a-zA-Z]+)/g, (_, param: string) =>
    encodeURIComponent(options.params?.[param] ?? `missing-${param}`),
  );
  const query = Object.entries(options.query ?? {}).map(([key, value]): [string, string] => [
    key,
    String(value),
  ]);
  const target = `${url}${path}${query.length > 0 ? `?${new URLSearchParams(query).toString()}` : ""}`;
  const response = await fetch(target, {
    method: route.method,
    headers: {
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      ...(options.body === undefined ? {} : { "content-type": "application/json" }),
      ...options.headers,
    },
    body:
      options.body === undefined
        ? null
        : typeof options.body === "string"
          ? options.body
          : JSON.stringify(options.body),
    signal: options.signal ?? null,
  });
  const text = await textOf(response);
  return { status: response.status, headers: response.headers, ...read<N>(name, route, response, text) };
}

/** The whole body; of a stream without an end what comes first, and then it is let go. */
async function textOf(response: Response): Promise<string> {
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) return response.text();
  const reader = response.body!.getReader();
  const { value } = await reader.read();
  await reader.cancel();
  return new TextDecoder().decode(value);
}

/** Holds an answer against the contract. */
function read<N extends RouteName>(
  name: N,
  route: Route,
  response: Response,
  text: string,
): Pick<Reply<N>, "body" | "problem"> {
  if (response.status >= 400) {
    const type = response.headers.get("content-type") ?? "";
    if (!type.startsWith("application/problem+json"))
      throw new Error(`${name} answered ${response.status} as ${type}: ${text}`);
    return { body: null, problem: problemSchema.parse(JSON.parse(text)) };
  }
  if (route.also?.[response.status]) {
    if (text !== "") throw new Error(`${name} answered ${response.status} with a body: ${text}`);
    return { body: null, problem: null };
  }
  if (response.status !== route.status)
    throw new Error(`${name} answered ${response.status}, the contract says ${route.status}: ${text}`);
  if (route.etag && !response.headers.get("etag")) throw new Error(`${name} answered without an ETag`);
  if (route.answer === null) {
    if (text !== "") throw new Error(`${name} answered with a body where there is none: ${text}`);
    return { body: null, problem: null };
  }
  const answer: unknown = route.answerType === undefined ? JSON.parse(text) : text;
  return { body: route.answer.parse(answer) as Answer<N>, problem: null };
}
