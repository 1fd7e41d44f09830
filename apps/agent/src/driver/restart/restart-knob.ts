/** A split that lies in a file which the engine reads when it starts. */
import { readFile, rm } from "node:fs/promises";
import type { Allocation, GeneratedAllocation, Limits, Split } from "@fulcrum/core/nouns.js";
import { DriverError, type DriverCapabilities, type Plan, type Verdict } from "../../partition-driver.js";
import { judge } from "../quantise.js";
import { fixedSplitLimits } from "../staged/fixed-split.js";
import { requestJson } from "../staged/json-request.js";
import type { Applied, Knob, Move, Reading } from "../staged/knob.js";
import { fileError, replaceFile } from "../../files/replace-file.js";
import type { DrainedRestart } from "./drained-restart.js";

/** How an engine's file says a split. */
export interface SplitFile {
  readonly driver: string;
  readonly path: string;
  /** What the engine runs where the file is not there. */
  readonly startUp: Split;
  readonly limits: Limits;
  readonly smCount: number | null;
  readonly roundingPct: number;
  readonly plan: (target: GeneratedAllocation, capabilities: DriverCapabilities) => Plan;
  readonly render: (generation: number, split: Split) => string;
  readonly parse: (text: string) => FileSaid | { readonly problem: string };
}

export interface FileSaid {
  readonly generation: number;
  readonly split: Split;
}

/** What the engine itself says that it was given. */
export interface ReadBack {
  /** Whatever was read until now is of the engine that is going to end. */
  readonly forget: () => Promise<void>;
  readonly read: () => Promise<Split | null>;
}

export interface RestartKnobOptions {
  readonly file: SplitFile;
  readonly restart: DrainedRestart;
  readonly healthUrl: string;
  readonly healthTimeoutMs: number;
  readonly readBack: ReadBack | null;
}

const OPEN_QUOTA_PCT = 100;
/** By the engine's user. */
const READABLE = 0o644;

export class RestartKnob implements Knob {
  readonly appliesSlowly = true;

  constructor(private readonly options: RestartKnobOptions) {}

  async probe(): Promise<DriverCapabilities> {
    const { file, restart } = this.options;
    const { driver, smCount, roundingPct } = file;
    const { split } = await readSplitFile(this.options.file);
    // One limit serves both phases, so that only a split of equal shares can be declared as fixed.
    const fixed = !restart.allowed && split.prefillSmPct === split.decodeSmPct;
    const quota = { minKvQuotaPct: OPEN_QUOTA_PCT, maxKvQuotaPct: OPEN_QUOTA_PCT };
    const limits = fixed ? fixedSplitLimits(split.prefillSmPct, quota) : { ...file.limits, ...quota };
    return { driver, live: false, limits, prepareMs: await restart.expectedMs(), smCount, roundingPct };
  }

  async read(applied: Applied | null): Promise<Reading> {
    const { file, readBack, healthUrl, healthTimeoutMs } = this.options;
    const { status } = await requestJson({ method: "GET", url: healthUrl, timeoutMs: healthTimeoutMs });
    if (status !== 200) throw new DriverError("unreachable", `${healthUrl} answered ${status}`, true);
    await this.options.restart.resume();
    const said = await readSplitFile(file);
    const split = readBack ? await readBack.read() : said.split;
    // An engine that starts again reads the same file: nothing is lost that would have to be applied again.
    const { generation } = said;
    const reading = { bootId: file.driver, delivered: allocationOf(split ?? said.split), generation };
    if (applied === null || split === null) return reading;
    const { roundingPct } = file;
    const { kind } = judge({ ...applied, roundingPct, adjusted: [] }, reading.delivered);
    return { ...reading, runs: generation === applied.generation && kind === "delivered" };
  }

  plan(target: GeneratedAllocation, capabilities: DriverCapabilities): Plan {
    return this.options.file.plan(target, capabilities);
  }

  accept(): Promise<void> {
    return this.options.restart.accept();
  }

  waitsFor(): Promise<null> {
    return Promise.resolve(null);
  }

  async apply({ generation, asked, resumed }: Move): Promise<void> {
    const { restart, readBack, file } = this.options;
    const before = await readSplitFile(this.options.file);
    // Of a resumed move the file may be the new one already: then what was before lies beside it.
    if (!resumed || before.generation < generation) await this.keepOld();
    await restart.move({
      generation,
      resumed,
      writeNew: () => this.writeText(file.render(generation, asked.split)),
      writeOld: () => this.writeOld(),
      onRestart: async () => readBack?.forget(),
    });
  }

  async verify(plan: Plan): Promise<Verdict> {
    const { readBack, file } = this.options;
    if (readBack === null) {
      return {
        kind: "unverified",
        message: `the engine was started with ${file.path} and does not say its SMs`,
      };
    }
    const split = await readBack.read();
    if (split === null) return { kind: "pending", why: "the engine has not said its SMs yet" };
    return judge(plan, allocationOf(split));
  }

  close(): void {
    this.options.restart.close();
  }

  private get oldPath(): string {
    return `${this.options.file.path}.fulcrum-old`;
  }

  private async keepOld(): Promise<void> {
    const text = await textOrNull(this.options.file.path);
    if (text === null) await rm(this.oldPath, { force: true });
    else await replaceFile(this.oldPath, text, READABLE);
  }

  /** To the letter, also what an operator wrote; no file where there was none. */
  private async writeOld(): Promise<void> {
    const text = await textOrNull(this.oldPath);
    if (text === null) await rm(this.options.file.path, { force: true });
    else await this.writeText(text);
  }

  private writeText(text: string): Promise<void> {
    return replaceFile(this.options.file.path, text, READABLE);
  }
}

/** @throws DriverError `bad_file`, or why it cannot be read */
export async function readSplitFile({ path, startUp, parse }: SplitFile): Promise<FileSaid> {
  const text = await textOrNull(path);
  if (text === null) return { generation: 0, split: startUp };
  const said = parse(text);
  if ("split" in said) return said;
  throw new DriverError("bad_file", `${path}: ${said.problem}`, false);
}

async function textOrNull(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw fileError(path, error as NodeJS.ErrnoException);
  }
}

function allocationOf(split: Split): Allocation {
  return { split, kvQuotaPct: OPEN_QUOTA_PCT };
}
