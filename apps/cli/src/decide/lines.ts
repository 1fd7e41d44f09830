/** Splits a byte stream into lines with a bound on their length. */
import type { Readable } from "node:stream";

/** An observation with 300 seconds of arrivals and four histograms of 63 buckets is under 16 KB. */
export const MAX_LINE_CHARS = 1_048_576;

/** A line without its end, or the mark of one that was longer than MAX_LINE_CHARS and was dropped. */
export type Line = { readonly text: string } | { readonly tooLong: true };

/** Lines as they come; a last line without a line end counts. Holds at most MAX_LINE_CHARS of an open line. */
export async function* readLines(input: Readable): AsyncGenerator<Line> {
  const decoder = new TextDecoder();
  let open = "";
  let dropping = false;
  for await (const chunk of input) {
    let text =
      open + (typeof chunk === "string" ? chunk : decoder.decode(chunk as Uint8Array, { stream: true }));
    open = "";
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      yield dropping || end > MAX_LINE_CHARS ? { tooLong: true } : { text: text.slice(0, end) };
      dropping = false;
      text = text.slice(end + 1);
    }
    if (text.length > MAX_LINE_CHARS) {
      dropping = true;
      text = "";
    }
    open = dropping ? "" : text;
  }
  if (dropping) yield { tooLong: true };
  else if (open !== "") yield { text: open };
}
