/** A kvcached segment as an engine keeps it, in a folder of the test's own. */
import { existsSync } from "node:fs";
import { mkdtemp, rename, rm, unlink, writeFile } from "node:fs/promises";
import { endianness, tmpdir } from "node:os";
import { join } from "node:path";

export async function shmFolder(): Promise<string> {
  return mkdtemp(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "fulcrum-kvcached-"));
}

export class FakeSegment {
  readonly path: string;

  constructor(
    folder: string,
    readonly name: string,
  ) {
    this.path = join(folder, name);
  }

  /** As the engine starts: a new file with its total. */
  async start(totalBytes: number): Promise<void> {
    await rm(this.path, { force: true });
    await this.write([totalBytes, 0, 0]);
  }

  /** Whole at once, in place of the engine's lock. */
  async write(fields: readonly number[]): Promise<void> {
    const bytes = Buffer.alloc(fields.length * 8);
    fields.forEach((field, index) => {
      if (endianness() === "LE") bytes.writeBigInt64LE(BigInt(field), index * 8);
      else bytes.writeBigInt64BE(BigInt(field), index * 8);
    });
    const place = existsSync(this.path) ? this.path : `${this.path}.new`;
    await writeFile(place, bytes, { flag: place === this.path ? "r+" : "w", mode: 0o666 });
    if (place !== this.path) await rename(place, this.path);
  }

  stop(): Promise<void> {
    return unlink(this.path);
  }
}
