import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  type OnApplicationBootstrap,
} from "@nestjs/common";
import type { Job, Queue } from "bullmq";
import type { Logger } from "pino";
import { CONFIG, type Config } from "../config.js";
import { Housekeeping } from "../db/housekeeping.js";
import { type JobQueue, openJobQueue } from "../db/job-queue.js";
import { LOGGER } from "../obs/logger.js";
import { ReconfigurationService } from "./reconfiguration.service.js";

/**
 * How often each replica looks, by a timer of its own, for rollouts whose watch was lost with the queue:
 * bounds how long such a loss can delay. Not a job: it would be lost with the others.
 */
const SWEEP_EVERY_MS = 5_000;
/** Deadlines are looked at in steps of this, so that a fleet that moves at once costs a job, not a job each. */
const SLOT_MS = 250;
const HOUSEKEEPING_EVERY_MS = 600_000;
/** Jobs wait on locks more than they compute. */
const QUEUE = { name: "reconfigurations", concurrency: 8, connections: { adding: 2, working: 4 } };

/** The catalogue: a job carries a key, never a fact; the handler reads everything again. */
type JobName = "watch" | "housekeeping";
type JobData = Record<string, never>;
type Jobs = Queue<JobData, void, JobName>;

/**
 * The queue of rollouts. It only wakes and times: each job looks at Postgres and does what is due there, so a
 * lost, late or repeated job changes nothing but when.
 */
@Injectable()
export class ReconfigurationQueue implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private jobs: JobQueue<JobData, JobName> | null = null;
  /** Whether the queue was there once; from then on what is asked of it while it is away fails at once. */
  private ready = false;
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
    this.jobs = openJobQueue<JobData, JobName>(this.config, QUEUE, (job) => this.handle(job.name));
    const { queue, worker } = this.jobs;
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
    const scheduled = queue
      .waitUntilReady()
      .then(() => this.scheduleHousekeeping(queue))
      .then(() => (this.ready = true));
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
    await this.jobs?.close();
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
    this.jobs?.queue
      .addBulk(jobs)
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

  private async sweep(queue: Jobs): Promise<void> {
    await this.lookAtDue();
    for (const work of this.sweepers) {
      await work().catch((error: unknown) => this.logger.warn({ event: "sweep_failed", err: error }));
    }
    // Of a Redis that has never been there any question waits until it is, and so would every later sweep.
    if (this.ready && !(await queue.getJobScheduler("housekeeping"))) await this.scheduleHousekeeping(queue);
  }

  private async scheduleHousekeeping(queue: Jobs): Promise<void> {
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
}

// `true`, not a count: with a count the Postgres backend was seen to deadlock under concurrency.
const ONCE = { removeOnComplete: true, removeOnFail: true } as const;
/** Some 30 s of retries, which outlasts a restart of Postgres; after that the sweep takes over. */
const RETRIED = { ...ONCE, attempts: 8, backoff: { type: "exponential", delay: 250 } } as const;
