/** What a driver must not forget, in one small JSON file that is replaced as a whole. */
import { readFile, rename } from "node:fs/promises";
import type { z } from "zod";
import { fileError, replaceFile } from "./replace-file.js";

export class StateFile<T extends object> {
  private current: T | null = null;
  private writing: Promise<unknown> = Promise.resolve();

  constructor(
    readonly path: string,
    private readonly schema: z.ZodType<T>,
    private readonly fresh: T,
  ) {}

  /**
   * The state; one that cannot be understood is set aside as `<path>.corrupt` and begun anew.
   * @throws DriverError when the file is there and cannot be read
   */
  async load(): Promise<T> {
    this.current ??= await this.read();
    return this.current;
  }

  /** On disk when it resolves; unchanged, also in memory, when it throws. @throws DriverError */
  save(change: Partial<T>): Promise<T> {
    return this.inTurn(async () => {
      const next = { ...(await this.load()), ...change };
      await replaceFile(this.path, `${JSON.stringify(next)}\n`);
      this.current = next;
      return next;
    });
  }

  /** For what is already so: kept in memory at least, on disk if the disk takes it. */
  async keep(change: Partial<T>): Promise<T> {
    return this.save(change).catch(async () => {
      this.current = { ...(await this.load()), ...change };
      return this.current;
    });
  }

  private inTurn(work: () => Promise<T>): Promise<T> {
    const turn = this.writing.then(work);
    this.writing = turn.catch(() => undefined);
    return turn;
  }

  private async read(): Promise<T> {
    let text: string;
    try {
      text = await readFile(this.path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return this.fresh;
      throw fileError(this.path, error as NodeJS.ErrnoException);
    }
    const parsed = this.schema.safeParse(jsonOrNull(text));
    if (parsed.success) return parsed.data;
    await rename(this.path, `${this.path}.corrupt`).catch(() => undefined);
    return this.fresh;
  }
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
