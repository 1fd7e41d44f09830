/** Server-sent events as text: what EventSource does, which cannot send a key. Pure. */
export interface ServerEvent {
  readonly event: string;
  readonly id: string | null;
  readonly data: string;
}

/** A line longer than this is no event of ours; the connection is dropped instead of filling the tab. */
const MAX_BUFFER = 4_000_000;

/** Takes the stream in pieces of any size and gives out whole events. Throws where a line never ends. */
export class EventParser {
  private buffer = "";

  take(piece: string): ServerEvent[] {
    this.buffer += piece;
    const blocks = this.buffer.split(/\r?\n\r?\n/);
    this.buffer = blocks.pop() ?? "";
    if (this.buffer.length > MAX_BUFFER) throw new Error("an event is larger than 4 MB");
    return blocks.map(eventOf).filter((event) => event !== null);
  }
}

function eventOf(block: string): ServerEvent | null {
  let event = "message";
  let id: string | null = null;
  const data: string[] = [];
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon === 0) continue;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") event = value;
    else if (field === "id") id = value;
    else if (field === "data") data.push(value);
  }
  return data.length === 0 && event === "message" ? null : { event, id, data: data.join("\n") };
}

/** 1 s, 2 s, 4 s … at most 15 s, spread by up to a half so that tabs do not come back all at once. */
export function retryAfterMs(failures: number, random: number): number {
  return Math.min(15_000, 1_000 * 2 ** Math.max(0, failures - 1)) * (0.5 + random / 2);
}
