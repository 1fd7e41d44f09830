import { DeadlineError, withDeadline } from "../deadline.js";
import { ReadError } from "./engine-reader.js";

export interface FetchTextOptions {
  readonly url: string;
  readonly timeoutMs: number;
  /** Of the body as it is after decompression: what has to be held and parsed. */
  readonly maxBytes: number;
  readonly signal: AbortSignal;
}

export interface FetchedText {
  readonly text: string;
  readonly openMetrics: boolean;
}

/** The plain format first: it is what every engine serves, and OpenMetrics adds only exemplars to it. */
const ACCEPT = "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5";
/** A page without a type is taken for the plain format, as Prometheus 2 does. */
const PLAIN: ReadonlySet<string> = new Set(["", "text/plain"]);
const OPEN_METRICS = "application/openmetrics-text";

/** GET of a metrics page, bounded in time and size. @throws ReadError */
export async function fetchText(options: FetchTextOptions): Promise<FetchedText> {
  const { url, timeoutMs, signal: outer } = options;
  try {
    return await withDeadline({ limitMs: timeoutMs, outer }, async (signal) => {
      const response = await fetch(url, { signal, redirect: "manual", headers: { accept: ACCEPT } });
      try {
        const openMetrics = checked(response, url);
        return { text: await readBounded(response, options), openMetrics };
      } catch (error) {
        // What is not read to its end holds the connection.
        if (!response.bodyUsed) await response.body?.cancel();
        throw error;
      }
    });
  } catch (error) {
    if (error instanceof ReadError) throw error;
    if (error instanceof DeadlineError) throw new ReadError("timeout", `${url}: ${error.message}`);
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw new ReadError("unreachable", `${url}: ${String(cause)}`, { cause: error });
  }
}

/** Whether the answer is OpenMetrics. @throws ReadError */
function checked(response: Response, url: string): boolean {
  const { status, headers } = response;
  if (status !== 200) {
    const target = headers.get("location");
    const where = target === null ? "" : ` and points to ${target.slice(0, 200)}: give that URL`;
    throw new ReadError("http_status", `${url} answered ${status}${where}`);
  }
  const type = (headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
  if (type === OPEN_METRICS) return true;
  if (PLAIN.has(type)) return false;
  throw new ReadError(
    "wrong_content_type",
    `${url} answered ${type.slice(0, 100)}, must be text/plain or ${OPEN_METRICS}`,
  );
}

async function readBounded(response: Response, { url, maxBytes }: FetchTextOptions): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    // Leaving the loop cancels the stream.
    if (bytes > maxBytes) {
      throw new ReadError("too_large", `${url} answered more than ${maxBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
