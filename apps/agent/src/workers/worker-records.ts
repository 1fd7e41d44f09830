/** Which worker processes there are, on disk, one small file each: the next agent finds them there. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { workerRole } from "@fulcrum/contracts/worker-protocol.js";
import type { Logger } from "pino";
import { z } from "zod";
import { readJsonSync } from "../files/read-json.js";
import { replaceFileSync } from "../files/replace-file.js";
import { isAlive } from "./proc.js";

const workerRecord = z.object({
  id: z.string().min(1).max(128),
  role: workerRole,
  rank: z.int().min(0),
  generation: z.int().min(0),
  smPct: z.number(),
  standby: z.boolean(),
  pid: z.int().min(1),
  startTicks: z.number().nullable(),
});
export type WorkerRecord = z.infer<typeof workerRecord>;

/** As replace-file.ts names what it writes beside a file. */
const HALF_WRITTEN = /\.fulcrum-\d+-\d+$/;

export class WorkerRecords {
  private readonly folder: string;
  private readonly instance: string;
  private readonly prefix: string;
  private readonly log: Logger;

  constructor(of: { readonly folder: string; readonly instance: string; readonly log: Logger }) {
    this.folder = of.folder;
    this.instance = of.instance;
    // No name has a tilde: the files of `chat` are told from those of an instance called `chat-worker-2`.
    this.prefix = `${of.instance}~worker-`;
    this.log = of.log;
  }

  /** Of the workers that live; what there is of others, and what an agent that was killed had half written, is removed. */
  load(): readonly WorkerRecord[] {
    const all = readdirSync(this.folder).filter((file) => file.startsWith(`${this.instance}~`));
    for (const file of all.filter((name) => HALF_WRITTEN.test(name))) {
      rmSync(join(this.folder, file), { force: true });
    }
    const files = all.filter((file) => file.startsWith(this.prefix));
    const living = files
      .filter((file) => file.endsWith(".json"))
      .flatMap((file) => {
        const parsed = workerRecord.safeParse(readJsonSync(join(this.folder, file)));
        return parsed.success && isAlive(parsed.data) ? [parsed.data] : [];
      });
    const kept = new Set(living.flatMap(({ id }) => [this.recordFile(id), this.logFile(id)]));
    for (const file of files) {
      const path = join(this.folder, file);
      if (!kept.has(path)) rmSync(path, { force: true });
    }
    return living;
  }

  /** A record that is lost is survivable: its worker is found when it connects, or leaves by itself. */
  write(record: WorkerRecord): void {
    try {
      replaceFileSync(this.recordFile(record.id), `${JSON.stringify(record)}\n`);
    } catch (error) {
      this.log.warn({ event: "worker_record_unwritable", worker: record.id, error: String(error) });
    }
  }

  remove(id: string): void {
    rmSync(this.recordFile(id), { force: true });
    rmSync(this.logFile(id), { force: true });
  }

  logFile(id: string): string {
    return join(this.folder, `${this.prefix}${safe(id)}.log`);
  }

  private recordFile(id: string): string {
    return join(this.folder, `${this.prefix}${safe(id)}.json`);
  }
}

/** A worker that nobody here started may call itself anything. */
function safe(id: string): string {
  return id.replaceAll(/[^A-Za-z0-9._-]/g, "_");
}
