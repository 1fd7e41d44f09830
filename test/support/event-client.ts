import { type LiveEvent, type LiveEventName, liveEvents } from "@fulcrum/contracts/live.js";

import { until } from "../process/support/until.js";
import type { TestController } from "./controller.js";

export interface Heard {
  readonly event: LiveEventName;
  readonly id: string | null;
  readonly data: unknown;
}

/** One stream of events, read as a page does: what came since the last id counts only when the next one has come. */
export class EventClient {
  /** Every event, each held against its schema, oldest first. */
  readonly heard: Heard[] = [];
  lastId: string | null = null;
  ended = false;
  private readonly cut = new AbortController();

  private constructor() {}

  /** Resolves when the stream stands and has said where it is. */
  static async open(
    controller: TestController,
    options: { lastId?: string | null; instance?: string; key?: string } = {},
  ): Promise<EventClient> {
    const client = new EventClient();
    const query = options.instance === undefined ? "" : `?instance=${options.instance}`;
    const response = await fetch(`${controller.url}/v1/events${query}`, {
      headers: {
        authorization: `Bearer ${options.key ?? controller.adminKey}`,
        ...(options.lastId ? { "last-event-id": options.lastId } : {}),
      },
      signal: client.cut.signal,
    });
    if (response.status !== 200)
      throw new Error(`events answered ${response.status}: ${await response.text()}`);
    void client.read(response).catch(() => (client.ended = true));
    await until("the stream says where it is", () => client.lastId !== null);
    return client;
  }

  of<N extends LiveEventName>(name: N): LiveEvent<N>[] {
    return this.heard.filter(({ event }) => event === name).map(({ data }) => data as LiveEvent<N>);
  }

  /** Those that count: they came before the last id. */
  settled<N extends LiveEventName>(name: N): LiveEvent<N>[] {
    const end = this.heard.findLastIndex(({ id }) => id !== null);
    return this.heard
      .slice(0, end)
      .filter(({ event }) => event === name)
      .map(({ data }) => data as LiveEvent<N>);
  }

  close(): void {
    this.cut.abort();
  }

  private async read(response: Response): Promise<void> {
    let rest = "";
    for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
      const blocks = (rest + piece).split("\n\n");
      rest = blocks.pop()!;
      for (const block of blocks) this.take(block);
    }
    this.ended = true;
  }

  private take(block: string): void {
    const fields = new Map(
      block
        .split("\n")
        .filter((line) => !line.startsWith(":"))
        .map((line): [string, string] => [
          line.slice(0, line.indexOf(":")),
          line.slice(line.indexOf(":") + 2),
        ]),
    );
    if (!fields.has("data")) return;
    const event = fields.get("event") as LiveEventName;
    const id = fields.get("id") ?? null;
    this.heard.push({ event, id, data: liveEvents[event].parse(JSON.parse(fields.get("data")!)) });
    this.lastId = id ?? this.lastId;
  }
}
