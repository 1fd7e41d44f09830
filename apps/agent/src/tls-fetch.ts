/**
 * fetch() with a CA, and with a client certificate, of one's own: Node's own fetch takes neither without the undici
 * package. Only what our clients use of fetch is there: no redirects, no cookies, no compression.
 */
import { readFileSync } from "node:fs";
import { type IncomingMessage, request as plainRequest } from "node:http";
import { Agent, request } from "node:https";
import { Readable } from "node:stream";
import { createSecureContext } from "node:tls";

/** Paths of PEM files. */
export interface TlsFiles {
  /** Whom to trust, instead of the CAs that Node knows. */
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

export interface FetchInit {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | null;
  readonly signal?: AbortSignal | null;
  readonly redirect?: "error";
}

export type Fetch = (url: string, init?: FetchInit) => Promise<Response>;

/** Files are looked at this often, so that a certificate that was renewed is used without a restart. */
const LOOK_MS = 2_000;
/** Requests under way go on over the connections of before; a long poll takes up to a minute. */
const OLD_AGENT_MS = 120_000;

/** The usual fetch where no file is given. Each call throws an Error naming the file that cannot be used. */
export function tlsFetch(files: TlsFiles | null | undefined): Fetch {
  if (!files || Object.values(files).every((file) => file === undefined)) return fetch;
  const connections = new Connections(files);
  return (url, init = {}) => send(url, init, connections);
}

class Connections {
  private current: { readonly texts: readonly (string | undefined)[]; readonly agent: Agent } | null = null;
  private lookAtMs = 0;

  constructor(private readonly files: TlsFiles) {}

  agent(nowMs: number): Agent {
    if (this.current && nowMs < this.lookAtMs) return this.current.agent;
    const texts = [this.files.caFile, this.files.certFile, this.files.keyFile].map(readText);
    this.lookAtMs = nowMs + LOOK_MS;
    if (this.current && texts.every((text, i) => text === this.current?.texts[i])) return this.current.agent;
    const [ca, cert, key] = texts;
    try {
      createSecureContext({ ca, cert, key });
    } catch (error) {
      // Half of a pair is written before the other.
      if (this.current) return this.current.agent;
      const named = Object.values(this.files).filter((file) => file !== undefined);
      throw new Error(`${named.join(", ")} cannot be used for TLS: ${(error as Error).message}`, {
        cause: error,
      });
    }
    const old = this.current?.agent;
    if (old) setTimeout(() => old.destroy(), OLD_AGENT_MS).unref();
    this.current = { texts, agent: new Agent({ keepAlive: true, ca, cert, key }) };
    return this.current.agent;
  }
}

function readText(file: string | undefined): string | undefined {
  return file === undefined ? undefined : readFileSync(file, "utf8");
}

function send(url: string, init: FetchInit, connections: Connections): Promise<Response> {
  const { method = "GET", headers = {}, body, signal } = init;
  return new Promise((resolve, reject) => {
    const secure = new URL(url).protocol === "https:";
    const options = { method, headers: { ...headers }, ...(signal ? { signal } : {}) };
    const take = (incoming: IncomingMessage) => resolve(toResponse(incoming));
    const outgoing = secure
      ? request(url, { ...options, agent: connections.agent(Date.now()) }, take)
      : plainRequest(url, options, take);
    outgoing.once("error", (error) => reject(signal?.aborted ? (signal.reason as Error) : error));
    outgoing.end(body ?? undefined);
  });
}

/** Statuses whose answers have no body. */
const WITHOUT_BODY: ReadonlySet<number> = new Set([204, 205, 304]);

function toResponse(incoming: IncomingMessage): Response {
  const status = incoming.statusCode ?? 0;
  const headers = new Headers();
  for (let i = 0; i + 1 < incoming.rawHeaders.length; i += 2)
    headers.append(incoming.rawHeaders[i]!, incoming.rawHeaders[i + 1]!);
  if (WITHOUT_BODY.has(status)) {
    incoming.resume();
    return new Response(null, { status, headers });
  }
  return new Response(Readable.toWeb(incoming) as ReadableStream<Uint8Array>, { status, headers });
}

/** What a person can do about a connection that was not trusted or not understood; null for any other failure. */
export function tlsAdvice(error: unknown): string | null {
  const code = (error as { code?: unknown } | null)?.code;
  switch (code) {
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "CERT_SIGNATURE_FAILURE":
      return "its certificate is not of a CA that is trusted here; name its CA's file";
    case "CERT_HAS_EXPIRED":
      return "its certificate has expired";
    case "CERT_NOT_YET_VALID":
      return "its certificate is not valid yet";
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return "its certificate is for another host name";
    case "ERR_SSL_WRONG_VERSION_NUMBER":
    case "ERR_SSL_PACKET_LENGTH_TOO_LONG":
    case "EPROTO":
      return "it does not speak TLS there; is the address http://?";
    default:
      return null;
  }
}
