/** One JSON request over HTTP, bounded in time and size. */
import { z } from "zod";
import { DeadlineError, withDeadline } from "../../deadline.js";
import { DriverError } from "../../partition-driver.js";

const MAX_ANSWER_BYTES = 262_144;

export interface JsonRequest {
  readonly method: "GET" | "PUT" | "POST";
  readonly url: string;
  readonly body?: Readonly<Record<string, unknown>>;
  readonly timeoutMs: number;
}

export interface JsonAnswer {
  readonly status: number;
  /** undefined: the body is not JSON. */
  readonly body: unknown;
}

const refusal = z.object({ code: z.string().min(1).max(63), message: z.string().max(1_000) });

/**
 * One answer with status 200 in the given shape. Any other status is a refusal: `{"code": …, "message": …}`, of which
 * codes that begin with `stale_` are final; 5xx counts as not heard.
 * @throws DriverError `unreachable`, `timeout`, `bad_answer`, or the code of the refusal
 */
export async function askJson<T>(request: JsonRequest, shape: z.ZodType<T>): Promise<T> {
  const { url } = request;
  const { status, body } = await requestJson(request);
  if (status >= 500) throw new DriverError("unreachable", `${url} answered ${status}`, true);
  if (status !== 200) {
    const said = refusal.safeParse(body);
    const code = said.success ? said.data.code : `http_${status}`;
    const why = said.success ? said.data.message : `answered ${status}`;
    throw new DriverError(code, `${url}: ${why}`, !code.startsWith("stale_"));
  }
  const parsedBody = shape.safeParse(body);
  if (parsedBody.success) return parsedBody.data;
  const issue = parsedBody.error.issues[0];
  const message = `${url}: ${issue?.path.join(".") || "the answer"}: ${issue?.message}`;
  throw new DriverError("bad_answer", message, true);
}

/** @throws DriverError `unreachable`, `timeout`, `bad_answer` (too large) */
export async function requestJson({ method, url, body, timeoutMs }: JsonRequest): Promise<JsonAnswer> {
  try {
    return await withDeadline({ limitMs: timeoutMs }, async (signal) => {
      const response = await fetch(url, {
        method,
        signal,
        redirect: "error",
        ...(body && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
      });
      return { status: response.status, body: parsed(await textOf(response, url)) };
    });
  } catch (error) {
    if (error instanceof DriverError) throw error;
    if (error instanceof DeadlineError) throw new DriverError("timeout", `${url}: ${error.message}`, true);
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw new DriverError("unreachable", `${url}: ${String(cause)}`, true);
  }
}

async function textOf(response: Response, url: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MAX_ANSWER_BYTES) {
      throw new DriverError("bad_answer", `${url} answered more than ${MAX_ANSWER_BYTES} bytes`, true);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
