/** The lines of an MPS server's log that tell of a fault (actuation.md §2.3). */
import { open } from "node:fs/promises";

export interface LogFault {
  /** As the log writes it. */
  readonly line: string;
  /** Client PIDs that the server blames (`ACTIVE`) when it names them. */
  readonly activeClients: readonly number[];
}

const FATAL = /Server is handling a fatal GPU error/;
const CLIENT = /status of client \{(\d+),\s*\d+\} is (ACTIVE|INACTIVE)/;
/** Read at most per look: a log that grows faster than this tells nothing new. */
const MAX_READ_BYTES = 1_000_000;

/** The last fatal error in the text, with the clients named after it; null when there is none. */
export function scanServerLog(text: string): LogFault | null {
  let fault: { line: string; activeClients: number[] } | null = null;
  for (const line of text.split("\n")) {
    if (FATAL.test(line)) fault = { line: line.trim(), activeClients: [] };
    const client = CLIENT.exec(line);
    if (fault && client?.[2] === "ACTIVE") fault.activeClients.push(Number(client[1]));
  }
  return fault;
}

/** Follows a server.log: each look sees what was written since the last one, the first one nothing. */
export class ServerLogTail {
  private position: number | null = null;
  private inode = 0;

  constructor(private readonly path: string) {}

  /** null without news; a log that is not there, or not ours to read, has none. */
  async look(): Promise<LogFault | null> {
    const file = await open(this.path, "r").catch(() => null);
    if (file === null) {
      // Written anew, it is read from its beginning.
      this.position = 0;
      return null;
    }
    try {
      const { size, ino } = await file.stat();
      const rotated = this.position !== null && (ino !== this.inode || size < this.position);
      this.inode = ino;
      const from = Math.max(rotated ? 0 : (this.position ?? size), size - MAX_READ_BYTES);
      const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(size - from), position: from });
      const text = buffer.toString("utf8", 0, bytesRead);
      // A line that is half written is read again.
      const whole = text.lastIndexOf("\n") + 1;
      this.position = from + Buffer.byteLength(text.slice(0, whole));
      return scanServerLog(text.slice(0, whole));
    } finally {
      await file.close();
    }
  }
}
