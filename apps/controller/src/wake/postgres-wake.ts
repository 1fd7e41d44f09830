import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import type { Logger } from "pino";
import { parseWake, type Wake, WAKE_CHANNEL } from "./wake.js";

const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 5_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** NOTIFY carries less than 8,000 bytes; 64 names of 63 characters fit. */
const MAX_NAMES = 64;

/** LISTEN on a connection of its own; NOTIFY through whatever pool the caller has. */
export class PostgresWake implements Wake {
  private listener: (agents: readonly string[] | null) => void = () => {};
  private client: pg.Client | null = null;
  private readonly stopped = new AbortController();

  constructor(
    private readonly url: string,
    private readonly notify: (sql: string, parameters: unknown[]) => Promise<unknown>,
    private readonly logger: Logger,
  ) {}

  onWake(listener: (agents: readonly string[] | null) => void): void {
    this.listener = listener;
  }

  async start(): Promise<void> {
    await this.connect();
  }

  async publish(agents: readonly string[]): Promise<void> {
    for (let from = 0; from < agents.length; from += MAX_NAMES) {
      const names = JSON.stringify(agents.slice(from, from + MAX_NAMES));
      await this.notify("SELECT pg_notify($1, $2)", [WAKE_CHANNEL, names]);
    }
  }

  async close(): Promise<void> {
    this.stopped.abort();
    await this.client?.end().catch(() => {});
  }

  private async connect(): Promise<void> {
    const client = new pg.Client({
      connectionString: this.url,
      application_name: "fulcrum-wake",
      keepAlive: true,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    });
    // Only a connection that listens can be lost; one that fails before is tried again by whoever called.
    let listening = false;
    const onLost = (error?: Error) => {
      if (!listening) return;
      listening = false;
      this.client = null;
      if (!this.stopped.signal.aborted) void this.reconnect(error);
    };
    client.on("error", onLost);
    client.on("end", () => onLost());
    client.on("notification", ({ payload }) => this.listener(parseWake(payload)));
    try {
      await client.connect();
      await client.query(`LISTEN ${WAKE_CHANNEL}`);
      this.stopped.signal.throwIfAborted();
    } catch (error) {
      await client.end().catch(() => {});
      throw error;
    }
    listening = true;
    this.client = client;
  }

  private async reconnect(error?: Error): Promise<void> {
    this.logger.warn(
      { event: "wake_lost", backend: "postgres", err: error },
      "wake signals lost; reconnecting",
    );
    for (
      let waitMs = FIRST_RETRY_MS;
      !this.stopped.signal.aborted;
      waitMs = Math.min(waitMs * 2, MAX_RETRY_MS)
    ) {
      await delay(waitMs, undefined, { signal: this.stopped.signal }).catch(() => {});
      if (this.stopped.signal.aborted) return;
      try {
        await this.connect();
        this.logger.info({ event: "wake_back", backend: "postgres" });
        this.listener(null);
        return;
      } catch {
        // Tried again at the next, longer interval; the first loss was logged.
      }
    }
  }
}
