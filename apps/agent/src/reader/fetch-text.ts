import { DeadlineError, withDeadline } from "../deadline.js";
import { ReadError } from "./engine-reader.js";

export interface FetchTextOptions {
  readonly url: string;
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly signal: AbortSignal;
}

/** GET of a text body, bounded in time and size. @throws ReadError */
export async function fetchText(options: FetchTextOptions): Promise<string> {
  const { url, timeoutMs, signal: outer } = options;
  try {
    return await withDeadline({ limitMs: timeoutMs, outer }, async (signal) => {
      const response = await fetch(url, { signal, redirect: "error" });
      if (response.status !== 200) {
        await response.body?.cancel();
        throw new ReadError("http_status", `${url} answered ${response.status}`);
      }
      return readBounded(response, options);
    });
  } catch (error) {
    if (error instanceof ReadError) throw error;
    if (error instanceof DeadlineError) throw new ReadError("timeout", `${url}: ${error.message}`);
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw new ReadError("unreachable", `${url}: ${String(cause)}`, { cause: error });
  }
}

async function readBounded(response: Response, options: FetchTextOptions): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    // Leaving the loop cancels the stream.
    if (bytes > options.maxBytes) {
      throw new ReadError("too_large", `${options.url} answered more than ${options.maxBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
