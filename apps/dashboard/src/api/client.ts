/** Requests to the controller that served the page. The key stays in this tab (sessionStorage), never in a cookie. */
import type { Problem } from "@fulcrum/contracts/problem.js";

const KEY = "fulcrum.key";
/** A request that takes longer is given up: the controller answers within this or says 503. */
const TIMEOUT_MS = 30_000;

export interface ApiRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** From the root, query included: `/v1/pools`. */
  readonly path: string;
  readonly body?: unknown;
  /** The ETag that was read, for routes that ask for If-Match. */
  readonly ifMatch?: string;
}

export interface Answer<T> {
  readonly data: T;
  readonly etag: string | null;
}

/** A refusal in the controller's own words. `status` 0: it could not be reached. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly problem: Problem | null = null,
  ) {
    super(message);
  }

  /** Worth trying again by itself: not reached, or it says that it cannot serve now. */
  get passes(): boolean {
    return this.status === 0 || this.status === 503;
  }
}

export function storedKey(): string | null {
  return sessionStorage.getItem(KEY);
}

export function storeKey(key: string | null): void {
  if (key === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, key);
}

/** `#key=fk_…` in the address signs in once; it is taken out of the address, so that it is not copied along. */
export function takeKeyFromAddress(): void {
  const found = /^#key=([A-Za-z0-9_-]+)$/.exec(location.hash)?.[1];
  if (found === undefined) return;
  storeKey(found);
  history.replaceState(null, "", location.pathname + location.search);
}

type Listener = () => void;
let onSignedOut: Listener = () => undefined;

/** Called when the controller does not accept the key any more. */
export function whenSignedOut(listener: Listener): () => void {
  onSignedOut = listener;
  return () => {
    onSignedOut = () => undefined;
  };
}

/** Throws ApiError. */
export async function send<T>(request: ApiRequest, signal?: AbortSignal): Promise<Answer<T>> {
  const response = await reach(request, signal);
  if (response.status === 401) onSignedOut();
  if (!response.ok) throw await refusal(response);
  const text = await response.text();
  return { data: (text === "" ? null : JSON.parse(text)) as T, etag: response.headers.get("etag") };
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await send<T>({ method: "GET", path }, signal)).data;
}

async function reach({ method, path, body, ifMatch }: ApiRequest, signal?: AbortSignal): Promise<Response> {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  try {
    return await fetch(path, {
      method,
      headers: {
        ...authorization(),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(ifMatch === undefined ? {} : { "if-match": ifMatch }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(
      0,
      limit.aborted ? "The controller did not answer in time." : "The controller cannot be reached.",
    );
  }
}

export function authorization(): Record<string, string> {
  const key = storedKey();
  return key === null ? {} : { authorization: `Bearer ${key}` };
}

async function refusal(response: Response): Promise<ApiError> {
  try {
    const problem = (await response.json()) as Problem;
    if (typeof problem.detail === "string") return new ApiError(response.status, problem.detail, problem);
  } catch {
    // A proxy's page: the status is all there is to say.
  }
  return new ApiError(response.status, `The controller answered ${response.status}.`);
}

/** The same request for a shell; the key stays a variable. */
export function curlOf({ method, path, body, ifMatch }: ApiRequest, origin: string): string {
  const parts = [`curl${method === "GET" ? "" : ` -X ${method}`} ${quoted(origin + path)}`];
  parts.push('-H "Authorization: Bearer $FULCRUM_KEY"');
  if (ifMatch !== undefined) parts.push(`-H ${quoted(`If-Match: ${ifMatch}`)}`);
  if (body !== undefined)
    parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
  return parts.join(" \\\n  ");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
