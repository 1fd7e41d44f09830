import type { ServerResponse } from "node:http";
import { type BeforeApplicationShutdown, Inject, Injectable } from "@nestjs/common";
import type { Logger } from "pino";
import { ProblemError } from "../http/problem-error.js";
import { LOGGER } from "../obs/logger.js";
import { Metrics } from "../obs/metrics.js";
import { KEEP_ALIVE, positionText, resetText, textsOf } from "./event-text.js";
import { type Advance, LiveFeed } from "./live-feed.js";
import { parsePosition, type Position } from "./position.js";

/** Streams that one replica serves. */
const MAX_STREAMS = 256;
const LOOK_EVERY_MS = 1_000;
export const KEEP_ALIVE_MS = 15_000;
/** A reader that is so far behind is cut off; 1,000 instances make some 0.3 MB a second. It comes back and catches up. */
const MAX_BEHIND_BYTES = 4 * 1_024 * 1_024;
const TOO_OLD = "what came since cannot be told any more";

interface Stream {
  readonly response: ServerResponse;
  /** Only what concerns it; null: everything. */
  readonly instance: string | null;
  /** Whether its key still lets it read. */
  readonly allowed: () => Promise<boolean>;
}

/** Tells open pages what changes. Looks once a second, only while somebody listens, once for all of them. */
@Injectable()
export class EventStreams implements BeforeApplicationShutdown {
  private readonly streams = new Set<Stream>();
  /** Those that have not got their first event yet. */
  private opening = 0;
  private looking: NodeJS.Timeout | null = null;
  private keeping: NodeJS.Timeout | null = null;
  private position: Position | null = null;
  private closing = false;
  private failing = false;

  constructor(
    @Inject(LiveFeed) private readonly feed: LiveFeed,
    @Inject(Metrics) metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    feed.onAdvance((advance) => this.tell(advance));
    metrics.gauge("fulcrum_event_streams", "Open streams of events.", () => this.streams.size);
  }

  beforeApplicationShutdown(): void {
    this.closing = true;
    for (const { response } of this.streams) response.end();
    if (this.looking) clearTimeout(this.looking);
    this.stopKeepingAlive();
  }

  /** Throws a problem before anything is sent; `started` sends the headers and gives the response. */
  async open(
    stream: Omit<Stream, "response">,
    lastEventId: string | undefined,
    started: () => ServerResponse,
  ): Promise<void> {
    if (this.closing) throw new ProblemError("unavailable", "The controller is stopping; try again.");
    if (this.streams.size + this.opening >= MAX_STREAMS) {
      const detail = `${MAX_STREAMS} streams of events are open already; try again.`;
      throw new ProblemError("unavailable", detail);
    }
    const from = lastEventId === undefined || lastEventId === "" ? null : parsePosition(lastEventId);
    const stale = from === null && lastEventId !== undefined && lastEventId !== "";
    this.opening += 1;
    let waiting = true;
    const served = () => {
      if (waiting) this.opening -= 1;
      waiting = false;
    };
    try {
      await this.feed.join(from, (advance) => {
        if (this.closing) throw new ProblemError("unavailable", "The controller is stopping; try again.");
        served();
        this.position = advance.position;
        this.begin({ ...stream, response: started() }, advance, stale || from !== null);
      });
    } finally {
      served();
    }
  }

  private begin(stream: Stream, { position, changes }: Advance, cameBack: boolean): void {
    // Its reader may have left while it waited for its turn.
    if (stream.response.destroyed) return;
    this.streams.add(stream);
    stream.response.once("close", () => this.gone(stream));
    stream.response.on("error", () => stream.response.destroy());
    if (changes) this.send(stream, ofInterest(stream, textsOf(changes)) + positionText(position));
    else this.send(stream, cameBack ? resetText(position, TOO_OLD) : positionText(position));
    this.lookAgain();
    this.keeping ??= setInterval(() => void this.keepAlive(), KEEP_ALIVE_MS);
  }

  /** Keeps looking while there is a stream; one loop, however streams come and go. */
  private lookAgain(): void {
    if (this.looking || this.streams.size === 0 || this.closing) return;
    this.looking = setTimeout(() => {
      void this.look().finally(() => {
        this.looking = null;
        this.lookAgain();
      });
    }, LOOK_EVERY_MS);
  }

  private async look(): Promise<void> {
    try {
      if (this.streams.size > 0) await this.feed.advance(LOOK_EVERY_MS / 2);
      this.failing = false;
    } catch (error) {
      // Once per outage: the next look asks for everything since the last one that succeeded.
      if (!this.failing) this.logger.warn({ event: "live_feed_failed", err: error });
      this.failing = true;
    }
  }

  private tell({ position, changes }: Advance): void {
    this.position = position;
    if (this.streams.size === 0) return;
    const texts = changes === null ? [] : textsOf(changes);
    const all = texts.map(({ text }) => text).join("");
    const end = changes === null ? resetText(position, TOO_OLD) : positionText(position);
    for (const stream of this.streams) {
      const body = stream.instance === null ? all : ofInterest(stream, texts);
      if (body !== "" || changes === null) this.send(stream, body + end);
    }
  }

  private send(stream: Stream, text: string): void {
    if (stream.response.destroyed || stream.response.writableEnded) return;
    stream.response.write(text);
    if (stream.response.writableLength <= MAX_BEHIND_BYTES) return;
    this.logger.warn({ event: "event_stream_behind", bytes: stream.response.writableLength });
    stream.response.destroy();
  }

  /** Also says where the stream is, so that a quiet one can catch up, and ends those whose key was revoked. */
  private async keepAlive(): Promise<void> {
    const position = this.position;
    for (const stream of this.streams)
      this.send(stream, KEEP_ALIVE + (position ? positionText(position) : ""));
    for (const stream of this.streams) if (!(await stream.allowed().catch(() => true))) stream.response.end();
  }

  private gone(stream: Stream): void {
    this.streams.delete(stream);
    if (this.streams.size === 0) this.stopKeepingAlive();
  }

  private stopKeepingAlive(): void {
    if (this.keeping) clearInterval(this.keeping);
    this.keeping = null;
  }
}

function ofInterest(stream: Stream, texts: ReturnType<typeof textsOf>): string {
  return texts
    .filter(({ instance }) => stream.instance === null || instance === null || instance === stream.instance)
    .map(({ text }) => text)
    .join("");
}
