import { lookup } from "node:dns";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { IncomingMessage } from "node:http";
import type { LookupFunction } from "node:net";
import { VERSION } from "../version.js";
import { isRefused, literalAddress } from "./addresses.js";

/** From the look-up of the name to the last byte that is read. */
export const POST_WITHIN_MS = 10_000;
/** Of an answer's body so much is kept; the rest is not read. */
const KEPT_BYTES = 1_024;

export interface PostResult {
  /** null: no answer came. */
  readonly status: number | null;
  readonly error: string | null;
  readonly answer: string | null;
}

/** Posts once. Follows no redirect, keeps no connection, and does not throw. */
export async function post(
  url: string,
  headers: Readonly<Record<string, string>>,
  body: string,
  withinMs: number = POST_WITHIN_MS,
): Promise<PostResult> {
  const target = new URL(url);
  const literal = literalAddress(target.hostname);
  if (literal !== null && isRefused(literal)) return failed(refusal(literal));
  const signal = AbortSignal.timeout(withinMs);
  try {
    const response = await send(target, headers, body, signal);
    const answer = await beginningOf(response).catch(() => "");
    const status = response.statusCode ?? 0;
    return { status, error: status >= 200 && status < 300 ? null : `answered ${status}`, answer };
  } catch (error) {
    if (signal.aborted) return failed(`no answer within ${withinMs / 1_000} s`);
    return failed(error instanceof Error ? error.message || String(codeOf(error)) : String(error));
  }
}

function failed(error: string): PostResult {
  return { status: null, error: error.slice(0, 500), answer: null };
}

function refusal(address: string): string {
  return `${address} is link-local or no address of a host: nothing is sent there`;
}

function codeOf(error: Error): unknown {
  return (error as { code?: unknown }).code;
}

function send(
  target: URL,
  headers: Readonly<Record<string, string>>,
  body: string,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const request = target.protocol === "https:" ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const sent = request(
      target,
      {
        method: "POST",
        agent: false,
        signal,
        lookup: checkedLookup,
        headers: {
          ...headers,
          "content-type": "application/json",
          "content-length": Buffer.byteLength(body),
          "user-agent": `fulcrum/${VERSION}`,
        },
      },
      resolve,
    );
    sent.on("error", reject);
    sent.end(body);
  });
}

/** At the moment of connecting, so that a name that points elsewhere by then is caught too. */
const checkedLookup: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return callback(error, "", 0);
    const bad = addresses.find(({ address }) => isRefused(address));
    if (bad) return callback(new Error(refusal(bad.address)), "", 0);
    if (options.all) return callback(null, addresses);
    const [first] = addresses;
    return callback(null, first?.address ?? "", first?.family ?? 0);
  });
};

async function beginningOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= KEPT_BYTES) break;
  }
  response.destroy();
  // No column takes a NUL.
  return Buffer.concat(chunks).subarray(0, KEPT_BYTES).toString("utf8").replaceAll("\0", "");
}
