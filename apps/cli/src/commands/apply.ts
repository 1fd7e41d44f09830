import { readFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import type { PoolSettings } from "@fulcrum/contracts/pool-defaults.js";
import { Option, type Command } from "commander";
import { differs, nameOf, planOf, type Step, stepJson, stepText, unnamed } from "../apply/plan.js";
import { MAX_FILE_CHARS, readPools } from "../apply/pool-documents.js";
import { type ApiClient, Refusal } from "../api/client.js";
import { CliFailure, failed, usageError } from "../failure.js";
import type { Io } from "../io.js";
import { apiCommand, type Session } from "./command.js";
import { changesSince } from "./pools.js";

interface ApplyOptions {
  readonly file: string;
  readonly dryRun?: boolean;
  readonly exitCode?: boolean;
  readonly prune?: boolean;
  readonly json?: boolean;
}

const MAX_FAULTS = 20;

export function addApply(program: Command, io: Io): void {
  apiCommand<ApplyOptions>(
    program,
    io,
    {
      usage: "apply",
      summary: "Make the pools what a YAML file says; all of it is checked before the first write",
      examples: [
        "fulcrum apply -f pools.yaml --dry-run",
        "fulcrum apply -f pools.yaml",
        "fulcrum pools export | fulcrum apply -f - --dry-run --exit-code",
      ],
      options: [
        new Option(
          "-f, --file <pools.yaml>",
          "YAML or JSON with one or more pools; - reads standard input",
        ).makeOptionMandatory(),
        new Option("--dry-run", "show what would change and write nothing"),
        new Option("--exit-code", "with --dry-run: end with 1 when something differs"),
        new Option("--prune", "delete the pools that the file does not name"),
      ],
    },
    async (session, _args, options) => {
      if (options.exitCode && !options.dryRun) throw usageError("--exit-code goes with --dry-run");
      const wanted = await poolsOf(session.io, options.file);
      const { body } = await session.api.call("listPools", {});
      // An export of no pools: no reason to delete any.
      if (wanted.length === 0 && options.prune) throw usageError(`${options.file} holds no pool to keep`);
      const steps = planOf(wanted, body.items, options.prune === true);
      const left = options.prune ? [] : unnamed(wanted, body.items).map(({ name }) => name);
      if (options.dryRun) showPlan(session, steps, left, options);
      else await write(session, steps, left);
    },
  );
}

/** @throws CliFailure (usage) with a line for each fault: where, what, the bound and what may have been meant */
async function poolsOf(io: Io, file: string): Promise<PoolSettings[]> {
  const text = await (file === "-" ? textOf(io.stdin) : textOfFile(file));
  const named = file === "-" ? "standard input" : file;
  if (text.length > MAX_FILE_CHARS) throw usageError(`${named} is over ${MAX_FILE_CHARS} characters`);
  const { pools, faults } = readPools(text);
  if (faults.length === 0) return pools;
  const more = faults.length > MAX_FAULTS ? [`and ${faults.length - MAX_FAULTS} more`] : [];
  throw usageError(`${named} is not valid; nothing was applied.`, [
    ...faults
      .slice(0, MAX_FAULTS)
      .map(({ line, column, message }) => `${named}:${line}:${column}: ${message}`),
    ...more,
  ]);
}

async function textOfFile(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw usageError(`${file} cannot be read: ${(error as Error).message}`);
  }
}

async function textOf(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    const buffer = Buffer.from(chunk as Buffer);
    bytes += buffer.length;
    // A character takes at most four bytes; what is over is refused by its caller.
    if (bytes > 4 * MAX_FILE_CHARS) throw usageError(`standard input is over ${4 * MAX_FILE_CHARS} bytes`);
    chunks.push(buffer);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function showPlan({ show }: Session, steps: readonly Step[], left: readonly string[], options: ApplyOptions) {
  const changing = steps.filter(differs);
  show({ steps: steps.map(stepJson), unnamed: left }, () =>
    [...steps.map((step) => stepText(step, false)), ...leftWords(left), sumWords(changing.length)].join("\n"),
  );
  if (options.exitCode && changing.length > 0) throw failed(`${changing.length} of ${steps.length} differ`);
}

function sumWords(changing: number): string {
  return changing === 0 ? "nothing would change" : `${changing} would change; nothing was written`;
}

function leftWords(left: readonly string[]): string[] {
  if (left.length === 0) return [];
  return [`not in the file, left as they are (--prune deletes them): ${left.join(", ")}`];
}

/** In the order of the plan, each pool in a transaction of its own; the first that cannot be written ends it. */
async function write({ api, io, show }: Session, steps: readonly Step[], left: readonly string[]) {
  const done: Step[] = [];
  for (const step of steps) {
    try {
      await writeOne(api, step);
    } catch (error) {
      throw await stoppedAt({ api, io }, step, done, steps.slice(done.length + 1), error);
    }
    done.push(step);
  }
  show({ steps: done.map(stepJson), unnamed: left }, () =>
    [...done.map((step) => stepText(step, true)), ...leftWords(left)].join("\n"),
  );
}

async function writeOne(api: ApiClient, step: Step): Promise<void> {
  switch (step.kind) {
    case "keep":
      return;
    case "create":
      await api.call("createPool", { body: step.pool });
      return;
    case "change": {
      const { name: pool, version } = step.before;
      await api.call("patchPool", { params: { pool }, body: step.patch, ifMatch: `"${version}"` });
      return;
    }
    case "delete": {
      const { name: pool, version } = step.before;
      await api.call("deletePool", { params: { pool }, ifMatch: `"${version}"` });
    }
  }
}

async function stoppedAt(
  { api, io }: Pick<Session, "api" | "io">,
  step: Step,
  done: readonly Step[],
  rest: readonly Step[],
  error: unknown,
): Promise<unknown> {
  if (!(error instanceof CliFailure)) return error;
  const name = nameOf(step);
  const names = (of: readonly Step[]) => of.filter(differs).map(nameOf).join(", ") || "none";
  // Without an answer it may have been written all the same.
  const isKnown = error instanceof Refusal;
  const details = [
    ...(await reasonsOf({ api, io }, step, error)),
    `Written before it: ${names(done)}. Not written: ${names(isKnown ? [step, ...rest] : rest)}.`,
    "Look with `fulcrum apply --dry-run`, then run it again if you still want it.",
  ];
  return new CliFailure(
    error.exitCode,
    isKnown
      ? `pool ${name} was not ${verbOf(step)}; nothing of it was applied.`
      : `it is not known whether pool ${name} was ${verbOf(step)}: no answer came.`,
    details,
  );
}

async function reasonsOf(
  { api, io }: Pick<Session, "api" | "io">,
  step: Step,
  error: CliFailure,
): Promise<string[]> {
  const stale = error instanceof Refusal && error.problem?.code === "precondition_failed";
  if (!stale || step.kind === "create") return [error.message, ...error.details];
  const since = await changesSince(api, io, step.before).catch(() => [error.message]);
  return ["Somebody changed it in between.", ...since];
}

function verbOf(step: Step): string {
  return step.kind === "create" ? "created" : step.kind === "delete" ? "deleted" : "changed";
}
