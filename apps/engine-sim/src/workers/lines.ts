import type { Socket } from "node:net";

/** Calls `take` with every whole line; a longer one goes to `tooLong` instead, once, and the rest of it is dropped. */
export function onLines(
  socket: Socket,
  maxChars: number,
  take: (line: string) => void,
  tooLong: () => void,
): void {
  let parts: string[] = [];
  let chars = 0;
  let skipping = false;
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => {
    let from = 0;
    for (let end = chunk.indexOf("\n"); end !== -1; end = chunk.indexOf("\n", from)) {
      const last = chunk.slice(from, end);
      from = end + 1;
      const isLong = chars + last.length > maxChars;
      if (isLong && !skipping) tooLong();
      if (!isLong && !skipping) take(parts.join("") + last);
      parts = [];
      chars = 0;
      skipping = false;
    }
    if (skipping) return;
    parts.push(chunk.slice(from));
    chars += chunk.length - from;
    if (chars <= maxChars) return;
    skipping = true;
    parts = [];
    tooLong();
  });
}
