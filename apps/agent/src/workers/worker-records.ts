/** Which worker processes there are, on disk, one small file each: the next agent finds them there. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { workerRole } from "@fulcrum/contracts/worker-protocol.js";
import type { Logger } from "pino";
import { z } from "zod";
import { readStateFile, removeStateFile, writeStateFile } from "./state-file.js";

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

export class WorkerRecords {
  private readonly folder: string;
  private readonly prefix: string;
  private readonly log: Logger;

  constructor(of: { readonly folder: string; readonly instance: string; readonly log: Logger }) {
    this.folder = of.folder;
    this.prefix = `${of.instance}-worker-`;
    this.log = of.log;
  }

  /** Those that can be read. */
  load(): readonly WorkerRecord[] {
    return readdirSync(this.folder)
      .filter((file) => file.startsWith(this.prefix) && file.endsWith(".json"))
      .flatMap((file) => {
        const parsed = workerRecord.safeParse(readStateFile(join(this.folder, file)));
        return parsed.success ? [parsed.data] : [];
      });
  }

  /** A record that is lost is survivable: its worker is found when it connects, or leaves by itself. */
  write(record: WorkerRecord): void {
    try {
      writeStateFile(this.recordFile(record.id), record);
    } catch (error) {
      this.log.warn({ event: "worker_record_unwritable", worker: record.id, error: String(error) });
    }
  }

  remove(id: string): void {
    removeStateFile(this.recordFile(id));
    removeStateFile(this.logFile(id));
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
