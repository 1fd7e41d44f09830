/** What a driver must not forget, in one small JSON file that is replaced as a whole. */
import { readFile, rename } from "node:fs/promises";
import type { z } from "zod";
import { fileError, replaceFile } from "../../files/replace-file.js";
import { DriverError } from "../../partition-driver.js";

const OUT_OF_BOUNDS = "out_of_bounds";

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

  /**
   * On disk when it resolves; unchanged, also in memory, when it throws.
   * @throws DriverError, `out_of_bounds` for what could not be read again
   */
  save(change: Partial<T>): Promise<T> {
    return this.inTurn(async () => {
      const next = this.checked({ ...(await this.load()), ...change });
      await replaceFile(this.path, `${JSON.stringify(next)}\n`);
      this.current = next;
      return next;
    });
  }

  /** For what is already so: kept in memory at least, on disk if the disk takes it. */
  async keep(change: Partial<T>): Promise<T> {
    return this.save(change).catch(async (error: unknown) => {
      if (error instanceof DriverError && error.code === OUT_OF_BOUNDS) throw error;
      this.current = { ...(await this.load()), ...change };
      return this.current;
    });
  }

  private checked(next: T): T {
    const checked = this.schema.safeParse(next);
    if (checked.success) return next;
    const issue = checked.error.issues[0];
    throw new DriverError(OUT_OF_BOUNDS, `${issue?.path.join(".")}: ${issue?.message}`, false);
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
