import { usageError } from "../failure.js";
import type { Io } from "../io.js";
import { readStateFolder } from "../local/state-folder.js";
import { ApiClient } from "./client.js";

export const DEFAULT_URL = "http://127.0.0.1:7070";

export interface ConnectionOptions {
  readonly url?: string;
  readonly key?: string;
}

/**
 * Address: --url, FULCRUM_URL, what a running `fulcrum up` wrote down, port 7070 here. Key: --key,
 * FULCRUM_KEY, the key file of `fulcrum up`; the file's key is sent to no other address than its own.
 */
export function connect(io: Io, options: ConnectionOptions): ApiClient {
  const local = readStateFolder(io.env);
  const url = httpUrl(options.url ?? io.env["FULCRUM_URL"] ?? local?.url ?? DEFAULT_URL);
  const localKey = local !== null && sameOrigin(url, local.url) ? local.adminKey : null;
  return new ApiClient({ url, key: options.key ?? io.env["FULCRUM_KEY"] ?? localKey });
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
