import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  type OnApplicationBootstrap,
  type OnModuleInit,
} from "@nestjs/common";
import type { Logger } from "pino";
import { DataSource, type EntityManager } from "typeorm";
import { appendAudit, CONTROLLER } from "../audit/append-audit.js";
import { CONFIG, type Config } from "../config.js";
import { type JobQueue, openJobQueue } from "../db/job-queue.js";
import { LOGGER } from "../obs/logger.js";
import { Metrics } from "../obs/metrics.js";
import { ReconfigurationQueue } from "../reconfigurations/reconfiguration.queue.js";
import { Lanes } from "./lanes.js";
import { post, POST_WITHIN_MS, type PostResult } from "./post.js";
import { MAX_TRIES, waitAfter } from "./retries.js";
import { signedHeaders } from "./signature.js";

/** A try that was begun and of which nothing was heard, since its controller died, is made again after this. */
export const CLAIM_MS = 3 * POST_WITHIN_MS;
/** Webhooks at most. */
export const MAX_WEBHOOKS = 50;
/** Messages under way at a time for one webhook, on each replica. */
const SENDS_PER_HOOK = 2;
/** On each replica: as many as there can be, so that targets that never answer leave every other one its own. */
const CONCURRENCY = MAX_WEBHOOKS * SENDS_PER_HOOK;
const QUEUE = { name: "webhooks", concurrency: CONCURRENCY, connections: { adding: 1, working: 2 } };
/** Messages queued by one sweep for one webhook, the oldest first. */
const PER_HOOK = 25;
const MAX_DUE = 500;
// `true`, not a count: see reconfiguration.queue.ts. What fails comes again by the row.
const ONCE = { removeOnComplete: true, removeOnFail: true } as const;

/** The key of a row, never a fact. */
type JobData = { readonly id: string };
type JobName = "deliver";

/** A message that is this controller's to send, now. */
export interface Claimed {
  readonly id: string;
  readonly webhook_id: string;
  readonly body: string;
  readonly tries: number;
  readonly url: string;
  readonly secret: string;
}

/**
 * Sends what lies in the outbox. The queue says when; who sends is settled by the row, whose time is moved on before: of jobs that
 * come twice one sends. A controller that dies between the target's answer and its own note sends again, with the same id.
 */
@Injectable()
export class WebhookSender implements OnModuleInit, OnApplicationBootstrap, BeforeApplicationShutdown {
  private jobs: JobQueue<JobData, JobName> | null = null;
  /** Whether the queue was there once: before, what is asked of it waits; from then on it fails at once. */
  private ready = false;
  private readonly direct = new Set<Promise<void>>();
  private readonly lanes = new Lanes(SENDS_PER_HOOK, 2 * PER_HOOK);

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(ReconfigurationQueue) private readonly sweeps: ReconfigurationQueue,
    @Inject(Metrics) private readonly metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onModuleInit(): void {
    this.sweeps.onSweep(() => this.sweep());
  }

  async onApplicationBootstrap(): Promise<void> {
    this.jobs = openJobQueue<JobData, JobName>(this.config, QUEUE, (job) => this.deliver(job.data.id));
    const { queue, worker } = this.jobs;
    const onError = (error: Error) =>
      this.logger.warn({ event: "queue_error", queue: QUEUE.name, err: error });
    queue.on("error", onError);
    worker.on("error", onError);
    worker.on("failed", (_job: unknown, error: Error) =>
      this.logger.warn({ event: "delivery_not_tried", err: error }),
    );
    const ready = queue.waitUntilReady().then(() => (this.ready = true));
    // Without Postgres there is no service; Redis may come later.
    if (this.config.redisUrl) ready.catch(onError);
    else await ready;
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.lanes.close();
    await this.jobs?.close();
    await Promise.all(this.direct);
  }

  /** Queues what is due, of each webhook in turn: what is new, and what the queue has lost. Without the queue it sends itself. */
  async sweep(nowMs: number = Date.now()): Promise<void> {
    const due = await this.source.query<{ id: string; tries: number }[]>(
      `SELECT d.id, d.tries FROM webhooks w CROSS JOIN LATERAL (
         SELECT id, tries, next_try_at, row_number() OVER (ORDER BY next_try_at) AS nth FROM webhook_deliveries
         WHERE webhook_id = w.id AND state = 'pending' AND next_try_at <= $1 ORDER BY next_try_at LIMIT ${PER_HOOK}) d
       ORDER BY d.nth, d.next_try_at LIMIT ${MAX_DUE}`,
      [new Date(nowMs)],
    );
    if (due.length === 0) return;
    if (await this.queued(due.map(({ id, tries }) => jobOf(id, tries, 0)))) return;
    this.sendWithoutQueue(due.map(({ id }) => id));
  }

  private async queued(jobs: readonly ReturnType<typeof jobOf>[]): Promise<boolean> {
    if (!this.ready) return false;
    try {
      await this.jobs?.queue.addBulk([...jobs]);
      return true;
    } catch (error) {
      this.logger.warn({ event: "deliveries_not_queued", count: jobs.length, err: error });
      return false;
    }
  }

  /** Tries one message, if it is due and nobody else is at it; where its webhook is busy, after those before it. */
  async deliver(id: string): Promise<void> {
    const [row] = await this.source.query<{ webhook: string }[]>(
      "SELECT webhook_id AS webhook FROM webhook_deliveries WHERE id = $1 AND state = 'pending'",
      [id],
    );
    if (!row) return;
    await this.lanes.run(row.webhook, id, async (next) => {
      const nowMs = Date.now();
      const claimed = await claim(this.source.manager, next, nowMs);
      if (claimed) await this.attempt(claimed, { nowMs });
    });
  }

  /** Sends a message that was claimed, and notes what came of it. */
  async attempt(
    claimed: Claimed,
    { nowMs = Date.now(), maxTries = MAX_TRIES, withinMs = POST_WITHIN_MS } = {},
  ): Promise<void> {
    const { id, webhook_id: webhook, url, secret, body, tries } = claimed;
    const result = await post(url, signedHeaders(secret, id, body, nowMs), body, withinMs);
    const delivered = result.error === null;
    this.metrics.webhookTried(delivered ? "delivered" : "failed");
    if (result.status === 410) return this.disable(claimed, result);
    const waitMs = delivered ? null : waitAfter(tries, maxTries);
    const state = delivered ? "delivered" : waitMs === null ? "dead" : "pending";
    await note(this.source.manager, claimed, state, waitMs === null ? null : nowMs + waitMs, result);
    if (state === "dead")
      this.logger.warn({ event: "delivery_dead", delivery: id, webhook, error: result.error });
    if (waitMs === null) return;
    // Lost or not added, the sweep finds it when its time has come.
    await this.queued([jobOf(id, tries, waitMs)]);
  }

  /** 410 Gone: the target wants nothing any more. */
  private async disable(claimed: Claimed, result: PostResult): Promise<void> {
    await this.source.transaction(async (manager) => {
      const now = new Date();
      // The webhook before its messages, as whoever removes it locks them.
      const [, disabled] = await manager.query<[unknown, number]>(
        "UPDATE webhooks SET disabled_at = $2 WHERE id = $1 AND disabled_at IS NULL",
        [claimed.webhook_id, now],
      );
      await note(manager, claimed, "dead", null, result);
      await manager.query(
        `UPDATE webhook_deliveries SET state = 'dead', next_try_at = NULL, claimed_until = NULL, ended_at = $2, last_error = 'the webhook was disabled: its target answered 410'
         WHERE webhook_id = $1 AND state = 'pending'`,
        [claimed.webhook_id, now],
      );
      if (disabled === 0) return;
      await appendAudit(manager, CONTROLLER, {
        action: "webhook.disable",
        subject: `webhook/${claimed.webhook_id}`,
        before: { disabledAt: null },
        after: { disabledAt: now, why: "the target answered 410" },
      });
    });
  }

  private sendWithoutQueue(ids: readonly string[]): void {
    for (const id of ids.slice(0, CONCURRENCY - this.direct.size)) {
      const sending: Promise<void> = this.deliver(id)
        .catch((error: unknown) => this.logger.warn({ event: "delivery_not_tried", err: error }))
        .finally(() => this.direct.delete(sending));
      this.direct.add(sending);
    }
  }
}

function jobOf(id: string, tries: number, delay: number) {
  return { name: "deliver" as const, data: { id }, opts: { ...ONCE, jobId: `${id}-${tries}`, delay } };
}

async function claim(manager: EntityManager, id: string, nowMs: number): Promise<Claimed | null> {
  const [rows] = await manager.query<[Claimed[], number]>(
    `UPDATE webhook_deliveries d SET tries = d.tries + 1, next_try_at = $3, claimed_until = $3
     FROM webhooks w WHERE d.id = $1 AND d.state = 'pending' AND d.next_try_at <= $2 AND w.id = d.webhook_id
     RETURNING d.id, d.webhook_id, d.body, d.tries, w.url, w.secret`,
    [id, new Date(nowMs), new Date(nowMs + CLAIM_MS)],
  );
  return rows.at(0) ?? null;
}

/** Not over what another one has noted meanwhile, whose try came after ours had taken too long. */
async function note(
  manager: EntityManager,
  { id, tries }: Claimed,
  state: "pending" | "delivered" | "dead",
  nextTryAtMs: number | null,
  { status, error, answer }: PostResult,
): Promise<void> {
  await manager.query(
    `UPDATE webhook_deliveries SET state = $3, next_try_at = $4, claimed_until = NULL, ended_at = $5, last_status = $6, last_error = $7, last_answer = $8
     WHERE id = $1 AND tries = $2 AND state = 'pending'`,
    [
      id,
      tries,
      state,
      nextTryAtMs === null ? null : new Date(nextTryAtMs),
      state === "pending" ? null : new Date(),
      status,
      error,
      answer,
    ],
  );
}
