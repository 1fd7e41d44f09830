import { existsSync } from "node:fs";
import { tlsFetch } from "@fulcrum/agent/tls-fetch.js";
import { usageError } from "../failure.js";
import type { Io } from "../io.js";
import { readStateFolder } from "../local/state-folder.js";
import { ApiClient } from "./client.js";

export const DEFAULT_URL = "http://127.0.0.1:7070";

export interface ConnectionOptions {
  readonly url?: string;
  readonly key?: string;
  readonly caFile?: string;
  readonly clientCert?: string;
  readonly clientKey?: string;
}

/**
 * Address: --url, FULCRUM_URL, what a running `fulcrum up` wrote down, port 7070 here. Key: --key,
 * FULCRUM_KEY, the key file of `fulcrum up`; the file's key is sent to no other address than its own.
 */
export function connect(io: Io, options: ConnectionOptions, timeoutMs?: number): ApiClient {
  const local = readStateFolder(io.env);
  const url = httpUrl(options.url ?? io.env["FULCRUM_URL"] ?? local?.url ?? DEFAULT_URL);
  const localKey = local !== null && sameOrigin(url, local.url) ? local.adminKey : null;
  const key = options.key ?? io.env["FULCRUM_KEY"] ?? localKey;
  return new ApiClient({ url, key, timeoutMs, fetch: tlsFetch(tlsFiles(io, options)) });
}

function tlsFiles(io: Io, options: ConnectionOptions) {
  const caFile = options.caFile ?? given(io.env["FULCRUM_CA_FILE"]);
  const certFile = options.clientCert ?? given(io.env["FULCRUM_CLIENT_CERT_FILE"]);
  const keyFile = options.clientKey ?? given(io.env["FULCRUM_CLIENT_KEY_FILE"]);
  if ((certFile === undefined) !== (keyFile === undefined))
    throw usageError("a client certificate needs its key: --client-cert and --client-key go together");
  for (const file of [caFile, certFile, keyFile]) {
    if (file !== undefined && !existsSync(file)) throw usageError(`there is no file ${file}`);
  }
  return { caFile, certFile, keyFile };
}

/** An empty variable is one that is not set. */
function given(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
}

function httpUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    throw usageError(
      `--url must be an http or https address such as ${DEFAULT_URL}, got ${JSON.stringify(text)}`,
    );
  }
  return text;
}

function sameOrigin(a: string, b: string): boolean {
  return new URL(a).origin === new URL(b).origin;
}
