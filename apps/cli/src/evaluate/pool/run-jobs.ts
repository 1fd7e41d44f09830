/** Runs jobs over the machine's cores. Results come in the order of the jobs, whatever the number of workers. */
import { Worker } from "node:worker_threads";
import { runJob, type Job, type JobResult } from "@fulcrum/evaluation/run-job.js";
import { World } from "@fulcrum/evaluation/world.js";
import { failed } from "../../failure.js";
import { loadWorld, type InputFiles } from "../inputs.js";

export interface ToWorker {
  readonly index: number;
  readonly job: Job;
}

/** Index null: ready for the first job. */
export type FromWorker =
  | { readonly index: null }
  | { readonly index: number; readonly result: JobResult }
  | { readonly index: number; readonly error: string };

export interface PoolOptions {
  readonly files: InputFiles;
  /** 0 runs everything in this thread. */
  readonly workers: number;
  /** Aborting ends the threads at once and rejects with the signal's reason. */
  readonly signal: AbortSignal;
  /** Called as each job ends. */
  readonly onDone: (done: number) => void;
}

export async function runJobs(jobs: readonly Job[], options: PoolOptions): Promise<readonly JobResult[]> {
  options.signal.throwIfAborted();
  if (jobs.length === 0) return [];
  return options.workers === 0 ? runHere(jobs, options) : runOnWorkers(jobs, options);
}

async function runHere(jobs: readonly Job[], options: PoolOptions): Promise<readonly JobResult[]> {
  const world = new World(loadWorld(options.files));
  const results: JobResult[] = [];
  for (const job of jobs) {
    results.push(runJob(world, job));
    options.onDone(results.length);
    await new Promise((resolve) => setImmediate(resolve));
    options.signal.throwIfAborted();
  }
  return results;
}

async function runOnWorkers(jobs: readonly Job[], options: PoolOptions): Promise<readonly JobResult[]> {
  const threads = Array.from(
    { length: Math.min(options.workers, jobs.length) },
    () => new Worker(new URL("./worker.js", import.meta.url), { workerData: options.files }),
  );
  try {
    return await handOut(jobs, threads, options);
  } finally {
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
}

/** Each thread has one job at a time, and gets the next when it has answered. */
function handOut(
  jobs: readonly Job[],
  threads: readonly Worker[],
  { signal, onDone }: PoolOptions,
): Promise<readonly JobResult[]> {
  const results: (JobResult | undefined)[] = jobs.map(() => undefined);
  let next = 0;
  let done = 0;
  const hand = (thread: Worker) => {
    const job = jobs[next];
    if (job === undefined) return;
    const message: ToWorker = { index: next, job };
    next += 1;
    thread.postMessage(message, []);
  };
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    for (const thread of threads) {
      thread.on("error", reject);
      thread.on("message", (message: FromWorker) => {
        if (message.index === null) return hand(thread);
        if ("error" in message) return reject(failed(`a run failed: ${message.error}`));
        results[message.index] = message.result;
        done += 1;
        onDone(done);
        if (done === jobs.length) resolve(results.filter((result) => result !== undefined));
        else hand(thread);
      });
    }
  });
}
