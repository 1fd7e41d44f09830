import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  type OnApplicationBootstrap,
} from "@nestjs/common";
import {
  createPostgresBackend,
  createRedisBackend,
  type Job,
  type Queue,
  withBackend,
  type Worker,
} from "bullmq";
import { Redis } from "ioredis";
import type { Logger } from "pino";
import { CONFIG, type Config } from "../config.js";
import { Housekeeping } from "../db/housekeeping.js";
import { LOGGER } from "../obs/logger.js";
import { ReconfigurationService } from "./reconfiguration.service.js";

const QUEUE = "reconfigurations";
/**
 * How often each replica looks, by a timer of its own, for rollouts whose watch was lost with the queue:
 * bounds how long such a loss can delay. Not a job: it would be lost with the others.
 */
const SWEEP_EVERY_MS = 5_000;
/** Deadlines are looked at in steps of this, so that a fleet that moves at once costs a job, not a job each. */
const SLOT_MS = 250;
const HOUSEKEEPING_EVERY_MS = 600_000;
/** Jobs wait on locks more than they compute. */
const CONCURRENCY = 8;

/** The catalogue: a job carries a key, never a fact; the handler reads everything again. */
type JobName = "watch" | "housekeeping";
type JobData = Record<string, never>;
// Both backends carry the same classes; only their connections differ in type.
type JobQueue = Queue<JobData, void, JobName>;
type JobWorker = Worker<JobData, void, JobName>;

/**
 * The one queue. It only wakes and times: each job looks at Postgres and does what is due there, so a
 * lost, late or repeated job changes nothing but when.
 */
@Injectable()
export class ReconfigurationQueue implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private queue: JobQueue | null = null;
  private worker: JobWorker | null = null;
  private readonly connections: Redis[] = [];
  private readonly queuedSlots = new Set<number>();
  private sweeping: { readonly timer: NodeJS.Timeout; running: Promise<void> | null } | null = null;

  private readonly sweepers: (() => Promise<void>)[] = [];

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(ReconfigurationService) private readonly reconfigurations: ReconfigurationService,
    @Inject(Housekeeping) private readonly housekeeping: Housekeeping,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    const { queue, worker } = this.config.redisUrl ? this.onRedis(this.config.redisUrl) : this.onPostgres();
    this.queue = queue;
    this.worker = worker;
    queue.on("error", (error: Error) => this.logger.warn({ event: "queue_error", err: error }));
    worker.on("error", (error: Error) => this.logger.warn({ event: "queue_error", err: error }));
    worker.on("failed", (job: Job | undefined, error: Error) => {
      this.logger.warn({
        event: "job_failed",
        job: job?.name,
        attempt: job?.attemptsMade,
        err: error,
      });
    });
    const scheduled = queue.waitUntilReady().then(() => this.scheduleHousekeeping(queue));
    // Without Postgres there is no service; Redis may come later, and until then the sweep does the work.
    if (this.config.redisUrl)
      scheduled.catch((error: unknown) => this.logger.warn({ event: "queue_error", err: error }));
    else await scheduled;
    const sweeping = {
      running: null as Promise<void> | null,
      timer: setInterval(() => {
        sweeping.running ??= this.sweep(queue)
          .catch((error: unknown) => this.logger.warn({ event: "sweep_failed", err: error }))
          .finally(() => (sweeping.running = null));
      }, SWEEP_EVERY_MS),
    };
    this.sweeping = sweeping;
  }

  /** Ends the worker after the job in hand; Postgres still holds every deadline. */
  async beforeApplicationShutdown(): Promise<void> {
    clearInterval(this.sweeping?.timer);
    await this.sweeping?.running;
    await this.worker?.close();
    await this.queue?.close();
    for (const connection of this.connections) connection.disconnect();
  }

  /** Has `work` done with every sweep, after the rollouts. One that fails is logged and comes again with the next. */
  onSweep(work: () => Promise<void>): void {
    this.sweepers.push(work);
  }

  /**
   * Has the rollouts that are due looked at when these deadlines pass. Does not wait and does not fail: a look
   * that could not be queued is made by the sweep.
   */
  watch(deadlinesMs: readonly number[]): void {
    const slots = new Set(deadlinesMs.map((deadlineMs) => Math.ceil(deadlineMs / SLOT_MS) * SLOT_MS));
    const unknown = [...slots].filter((slotMs) => !this.queuedSlots.has(slotMs));
    if (unknown.length === 0) return;
    this.rememberQueued(unknown);
    const jobs = unknown.map((slotMs) => ({
      name: "watch" as const,
      data: {},
      // One job per slot for the whole fleet: adding it twice adds it once.
      opts: { ...RETRIED, jobId: `due-${slotMs}`, delay: Math.max(0, slotMs - Date.now()) },
    }));
    this.queue
      ?.addBulk(jobs)
      .catch((error: unknown) => this.logger.warn({ event: "watch_not_queued", err: error }));
  }

  /** Slots that this replica has queued already; those that are past are forgotten. */
  private rememberQueued(slots: readonly number[]): void {
    const nowMs = Date.now();
    for (const slotMs of this.queuedSlots) if (slotMs <= nowMs) this.queuedSlots.delete(slotMs);
    for (const slotMs of slots) if (slotMs > nowMs) this.queuedSlots.add(slotMs);
  }

  private async lookAtDue(): Promise<void> {
    this.watch(await this.reconfigurations.advanceDue());
  }

  private async sweep(queue: JobQueue): Promise<void> {
    await this.lookAtDue();
    for (const work of this.sweepers) {
      await work().catch((error: unknown) => this.logger.warn({ event: "sweep_failed", err: error }));
    }
    if (!(await queue.getJobScheduler("housekeeping"))) await this.scheduleHousekeeping(queue);
  }

  private async scheduleHousekeeping(queue: JobQueue): Promise<void> {
    await queue.upsertJobScheduler(
      "housekeeping",
      { every: HOUSEKEEPING_EVERY_MS },
      { name: "housekeeping", data: {}, opts: ONCE },
    );
  }

  private async handle(name: JobName): Promise<void> {
    switch (name) {
      case "watch":
        await this.lookAtDue();
        return;
      case "housekeeping":
        await this.housekeeping.run();
        return;
      default: {
        const unknown: never = name;
        this.logger.warn({ event: "unknown_job", job: unknown });
      }
    }
  }

  private onPostgres(): { queue: JobQueue; worker: JobWorker } {
    const { Queue, Worker } = withBackend(createPostgresBackend);
    // The pools are small: one job at a time per connection, and the listener has its own.
    const connection = (max: number) => ({
      connectionString: this.config.databaseUrl,
      schema: "bullmq",
      migrate: true,
      max,
      application_name: "fulcrum-queue",
    });
    return {
      queue: new Queue(QUEUE, { connection: connection(2) }) as unknown as JobQueue,
      worker: new Worker(QUEUE, (job: Job<JobData, void, JobName>) => this.handle(job.name), {
        connection: connection(4),
        concurrency: CONCURRENCY,
      }) as unknown as JobWorker,
    };
  }

  private onRedis(url: string): { queue: JobQueue; worker: JobWorker } {
    const { Queue, Worker } = withBackend(createRedisBackend);
    // Adding fails at once while Redis is away; the worker waits for it to come back.
    const adding = new Redis(url, { maxRetriesPerRequest: 1 });
    const working = new Redis(url, { maxRetriesPerRequest: null });
    this.connections.push(adding, working);
    return {
      queue: new Queue(QUEUE, { connection: adding }) as unknown as JobQueue,
      worker: new Worker(QUEUE, (job: Job<JobData, void, JobName>) => this.handle(job.name), {
        connection: working,
        concurrency: CONCURRENCY,
      }),
    };
  }
}

// `true`, not a count: with a count the Postgres backend was seen to deadlock under concurrency.
const ONCE = { removeOnComplete: true, removeOnFail: true } as const;
/** Some 30 s of retries, which outlasts a restart of Postgres; after that the sweep takes over. */
const RETRIED = { ...ONCE, attempts: 8, backoff: { type: "exponential", delay: 250 } } as const;
