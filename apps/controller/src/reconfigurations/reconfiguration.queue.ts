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
/** Finds rollouts whose watch was lost with the queue, and so bounds how long such a loss can delay. */
const SWEEP_EVERY_MS = 5_000;
const HOUSEKEEPING_EVERY_MS = 600_000;
/** Jobs wait on locks more than they compute. */
const CONCURRENCY = 8;

/** The catalogue: a job carries a key, never a fact; the handler reads everything again. */
type JobName = "watch" | "sweep" | "housekeeping";
interface JobData {
  readonly id?: string;
}
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
        id: job?.data?.id,
        attempt: job?.attemptsMade,
        err: error,
      });
    });
    await queue.waitUntilReady();
    await queue.upsertJobScheduler(
      "sweep",
      { every: SWEEP_EVERY_MS },
      { name: "sweep", data: {}, opts: ONCE },
    );
    await queue.upsertJobScheduler(
      "housekeeping",
      { every: HOUSEKEEPING_EVERY_MS },
      { name: "housekeeping", data: {}, opts: ONCE },
    );
  }

  /** Ends the worker after the job in hand; Postgres still holds every deadline. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.worker?.close();
    await this.queue?.close();
    for (const connection of this.connections) connection.disconnect();
  }

  /**
   * Has each rollout looked at when its deadline passes. Does not wait and does not fail: a watch that
   * could not be queued is found by the sweep.
   */
  watch(rollouts: readonly { id: string; deadlineMs: number }[]): void {
    for (const { id, deadlineMs } of rollouts) {
      const delay = Math.max(0, deadlineMs - Date.now());
      this.queue
        // One job per rollout and deadline: adding it twice adds it once.
        ?.add("watch", { id }, { ...RETRIED, jobId: `${id}-${deadlineMs}`, delay })
        .catch((error: unknown) => this.logger.warn({ event: "watch_not_queued", id, err: error }));
    }
  }

  async counts(): Promise<Record<string, number>> {
    return (await this.queue?.getJobCounts("waiting", "active", "delayed", "failed")) ?? {};
  }

  private async handle(name: JobName, data: JobData): Promise<void> {
    switch (name) {
      case "watch": {
        if (!data.id) return;
        const { lookAgainAtMs, aftermath } = await this.reconfigurations.advance(data.id);
        if (lookAgainAtMs !== null) this.watch([{ id: data.id, deadlineMs: lookAgainAtMs }]);
        this.watch(aftermath.watch);
        return;
      }
      case "sweep":
        this.watch(await this.reconfigurations.listOpen());
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
      worker: new Worker(QUEUE, (job: Job<JobData, void, JobName>) => this.handle(job.name, job.data), {
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
      worker: new Worker(QUEUE, (job: Job<JobData, void, JobName>) => this.handle(job.name, job.data), {
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
