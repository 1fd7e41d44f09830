import {
  createPostgresBackend,
  createRedisBackend,
  type Job,
  type Queue,
  withBackend,
  type Worker,
} from "bullmq";
import { Redis } from "ioredis";
import type { Config } from "../config.js";

/** A queue and whoever works on it, on Redis where there is one, else on Postgres. */
export interface JobQueue<Data, Name extends string> {
  // Both backends carry the same classes; only their connections differ in type.
  readonly queue: Queue<Data, void, Name>;
  readonly worker: Worker<Data, void, Name>;
  /** Ends the worker after the jobs in hand. */
  close(): Promise<void>;
}

export interface JobQueueOptions {
  readonly name: string;
  /** Jobs at a time; more than connections, since jobs wait on others more than they compute. */
  readonly concurrency: number;
  /** To Postgres: of whoever adds jobs and of whoever works on them; a listener has its own. */
  readonly connections: { readonly adding: number; readonly working: number };
}

export function openJobQueue<Data, Name extends string>(
  config: Pick<Config, "databaseUrl" | "redisUrl">,
  options: JobQueueOptions,
  handle: (job: Job<Data, void, Name>) => Promise<void>,
): JobQueue<Data, Name> {
  return config.redisUrl
    ? onRedis(config.redisUrl, options, handle)
    : onPostgres(config.databaseUrl, options, handle);
}

function onPostgres<Data, Name extends string>(
  databaseUrl: string,
  { name, concurrency, connections }: JobQueueOptions,
  handle: (job: Job<Data, void, Name>) => Promise<void>,
): JobQueue<Data, Name> {
  const { Queue, Worker } = withBackend(createPostgresBackend);
  const connection = (max: number) => ({
    connectionString: databaseUrl,
    schema: "bullmq",
    migrate: true,
    max,
    application_name: "fulcrum-queue",
  });
  const queue = new Queue(name, { connection: connection(connections.adding) }) as unknown as Queue<
    Data,
    void,
    Name
  >;
  const worker = new Worker(name, handle, {
    connection: connection(connections.working),
    concurrency,
  }) as unknown as Worker<Data, void, Name>;
  return { queue, worker, close: () => closeAll(queue, worker, []) };
}

function onRedis<Data, Name extends string>(
  url: string,
  { name, concurrency }: JobQueueOptions,
  handle: (job: Job<Data, void, Name>) => Promise<void>,
): JobQueue<Data, Name> {
  const { Queue, Worker } = withBackend(createRedisBackend);
  // Adding fails at once while Redis is away; the worker waits for it to come back.
  const adding = new Redis(url, { maxRetriesPerRequest: 1 });
  const working = new Redis(url, { maxRetriesPerRequest: null });
  const queue = new Queue(name, { connection: adding }) as unknown as Queue<Data, void, Name>;
  const worker = new Worker(name, handle, { connection: working, concurrency });
  return { queue, worker, close: () => closeAll(queue, worker, [adding, working]) };
}

async function closeAll(
  queue: { close(): Promise<void> },
  worker: { close(force?: boolean): Promise<void> },
  connections: readonly Redis[],
): Promise<void> {
  // A worker that waits for Redis to come back would be waited for as long; a job that is lost with it is made up for.
  await worker.close(connections.some(({ status }) => status !== "ready"));
  await queue.close();
  for (const connection of connections) connection.disconnect();
}
