/** A worker thread of the pool: loads the world once, then runs one job at a time. */
import { parentPort, workerData } from "node:worker_threads";
import { runJob } from "@fulcrum/evaluation/run-job.js";
import { World } from "@fulcrum/evaluation/world.js";
import { loadWorld, type InputFiles } from "../inputs.js";
import type { FromWorker, ToWorker } from "./run-jobs.js";

const port = parentPort;
if (port === null) throw new Error("worker.ts runs as a worker thread only");
const world = new World(loadWorld(workerData as InputFiles));
const send = (message: FromWorker) => port.postMessage(message);

port.on("message", ({ index, job }: ToWorker) => {
  try {
    send({ index, result: runJob(world, job) });
  } catch (error) {
    send({ index, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
});
send({ index: null });
