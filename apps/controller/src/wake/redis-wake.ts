import { Redis } from "ioredis";
import type { Logger } from "pino";
import { parseWake, type Wake, WAKE_CHANNEL } from "./wake.js";

/** Redis pub/sub; ioredis reconnects and subscribes again by itself. */
export class RedisWake implements Wake {
  private readonly publisher: Redis;
  private readonly subscriber: Redis;
  private listener: (agents: readonly string[] | null) => void = () => {};

  constructor(
    url: string,
    private readonly logger: Logger,
  ) {
    const options = {
      lazyConnect: true,
      retryStrategy: (tries: number) => Math.min(100 * 2 ** tries, 5_000),
    };
    // A publish while Redis is away fails at once: the wake is a hint, and nobody should wait for it.
    this.publisher = new Redis(url, { ...options, maxRetriesPerRequest: 0, enableOfflineQueue: false });
    this.subscriber = new Redis(url, { ...options, maxRetriesPerRequest: null });
    for (const client of [this.publisher, this.subscriber]) {
      client.on("error", (error) => logger.debug({ event: "wake_error", backend: "redis", err: error }));
    }
    this.subscriber.on("close", () => logger.warn({ event: "wake_lost", backend: "redis" }));
    this.subscriber.on("ready", () => this.listener(null));
    this.subscriber.on("message", (_channel, message) => this.listener(parseWake(message)));
  }

  onWake(listener: (agents: readonly string[] | null) => void): void {
    this.listener = listener;
  }

  /** Does not wait for Redis: without it everything works, only later. The subscription is made when it is there. */
  async start(): Promise<void> {
    const ignore = () => {};
    this.publisher.connect().catch(ignore);
    this.subscriber.connect().catch(ignore);
    this.subscriber.subscribe(WAKE_CHANNEL).catch((error: unknown) => {
      this.logger.warn({ event: "wake_not_subscribed", backend: "redis", err: error });
    });
  }

  async publish(agents: readonly string[]): Promise<void> {
    await this.publisher.publish(WAKE_CHANNEL, JSON.stringify(agents));
  }

  async close(): Promise<void> {
    this.publisher.disconnect();
    this.subscriber.disconnect();
  }
}
