import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import { InvalidArgumentError, Option, type Command } from "commander";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { usageError } from "../failure.js";
import { printJson, printLine, type Io } from "../io.js";
import { groupCommand, localCommand, numberIn, wholeIn } from "./command.js";
import { fitText, settingsText } from "./profile-text.js";

interface FitOptions extends Settings {
  readonly steps: string;
  readonly smShares?: string;
  readonly out: string;
  readonly model?: string;
  readonly tp?: number;
  readonly smModel?: string;
  readonly smTp?: number;
  readonly base: string;
  readonly name?: string;
  readonly grid: boolean;
  readonly json?: boolean;
}

interface Settings {
  readonly gpus?: number;
  readonly smCount?: number;
  readonly smPerTpc?: number;
  readonly engineMs?: Pair;
  readonly contention?: Pair;
  readonly overlapToPrefill?: number;
  readonly kvTokens?: number;
  readonly kvBlockTokens?: number;
  readonly maxBatch?: number;
  readonly maxBatchedTokens?: number;
}

type Pair = readonly [prefill: number, decode: number];

export function addProfile(program: Command, io: Io): void {
  const group = groupCommand(
    program,
    "profile",
    "Profiles of GPUs and models for the simulator (docs/profiles.md)",
    "fulcrum profile fit --steps steps.csv --sm-shares sm.csv --out my-gpu.json",
  );
  localCommand<FitOptions>(
    group,
    {
      usage: "fit",
      summary: "Fit a profile to measured step times, with how well it fits and where it extrapolates",
      examples: [
        "fulcrum profile fit --steps steps.csv --sm-shares sm.csv --out my-gpu.json",
        'fulcrum profile fit --steps all.csv --model "Llama-3-70B A100" --base my-gpu.json --kv-tokens 450000 --out 70b.json',
      ],
      options: fitOptions(),
    },
    (_args, options) => fit(io, options),
  );
}

function fitOptions(): Option[] {
  const ofBase = "default: the base's";
  return [
    new Option(
      "--steps <file>",
      "CSV of step times: phase, batch_size, len_or_ctx_per_seq, ms",
    ).makeOptionMandatory(),
    new Option("--out <file>", "where to write the profile").makeOptionMandatory(),
    new Option(
      "--sm-shares <file>",
      "CSV of step times by SM share: sm_pct, batch_size, seq_len, prefill_ms, decode_step_ms",
    ),
    new Option("--model <name>", "rows of --steps to take, by their model column"),
    new Option("--tp <n>", "rows of --steps to take, by their tp column").argParser(wholeIn(1, 64)),
    new Option("--sm-model <name>", "rows of --sm-shares to take"),
    new Option("--sm-tp <n>", "rows of --sm-shares to take").argParser(wholeIn(1, 64)),
    new Option("--base <profile>", "a profile to take from whatever is not measured").default(
      "llama3-8b-a100",
    ),
    new Option("--name <name>", "of the new profile; default: what the rows call the model"),
    new Option("--no-grid", "write coefficients only; else the measured points too, to interpolate"),
    new Option("--gpus <n>", "GPUs of a tensor-parallel group; default: the tp column, or 1").argParser(
      wholeIn(1, 64),
    ),
    new Option("--sm-count <n>", `SMs of one GPU; ${ofBase}`).argParser(wholeIn(1, 1024)),
    new Option("--sm-per-tpc <n>", `SMs in a TPC; ${ofBase}`).argParser(wholeIn(1, 64)),
    new Option(
      "--engine-ms <prefill,decode>",
      `host milliseconds of each iteration, beyond the kernels; ${ofBase}`,
    ).argParser(pairIn(0, 10_000)),
    new Option(
      "--contention <decode,prefill>",
      `how much longer decode takes beside prefill (0.15: 15 %), and prefill beside decode; ${ofBase}`,
    ).argParser(pairIn(0, 10)),
    new Option("--overlap-to-prefill <share>", `of overlapping caps, 0.1..0.9; ${ofBase}`).argParser(
      numberIn(0.1, 0.9),
    ),
    new Option("--kv-tokens <n>", `KV pool, rounded down to whole blocks; ${ofBase}`).argParser(
      wholeIn(1, 1e9),
    ),
    new Option("--kv-block-tokens <n>", ofBase).argParser(wholeIn(1, 4096)),
    new Option("--max-batch <n>", `sequences in a decode iteration; ${ofBase}`).argParser(wholeIn(1, 65_536)),
    new Option("--max-batched-tokens <n>", `prompt tokens in a prefill iteration; ${ofBase}`).argParser(
      wholeIn(1, 1e6),
    ),
    new Option("--json", "print the report as JSON"),
  ];
}

async function fit(io: Io, options: FitOptions): Promise<void> {
  const { fitProfile } = await import("@fulcrum/simulator/profile-fit.js");
  const { parseSmSharePoints, parseStepPoints } = await import("@fulcrum/simulator/profile-fit-points.js");
  const { loadProfile, readInput } = await import("../simulator-check/input-files.js");
  const steps = parseStepPoints(readInput(options.steps), basename(options.steps), {
    model: options.model ?? null,
    tp: options.tp ?? null,
  });
  const smShares =
    options.smShares === undefined
      ? null
      : parseSmSharePoints(readInput(options.smShares), basename(options.smShares), {
          model: options.smModel ?? null,
          tp: options.smTp ?? null,
        });
  const given = loadProfile(options.base);
  const base = settled(given, options, steps.tp);
  const settings = settingsText(given, base);
  const fitted = fitProfile({
    name: options.name ?? slug(steps.label),
    steps,
    smShares,
    base,
    withGrid: options.grid,
    sources: [
      `Step times: ${steps.prefill.length} prefill and ${steps.decode.length} decode of ${basename(options.steps)} (${steps.label}).`,
      smShares === null
        ? `SM-share curves: those of ${given.name}.`
        : `SM-share curves: medians of ${basename(options.smShares ?? "")} (${smShares.label}).`,
      ...settings.map((line) => `${line}.`),
    ].join(" "),
  });
  try {
    writeFileSync(options.out, `${JSON.stringify(fitted.json, null, 2)}\n`);
  } catch (error) {
    throw usageError(`--out: ${options.out} cannot be written: ${(error as Error).message}`);
  }
  const { json: _, profile: __, ...report } = fitted;
  if (options.json === true) printJson(io, { out: options.out, settings, ...report });
  else printLine(io, fitText(fitted, { settings, withGrid: options.grid, out: options.out }));
}

/** The base with what the command line sets. */
function settled(base: Profile, options: Settings, tp: number | null): Profile {
  const { prefill, decode, contention } = base;
  const [prefillEngineMs, decodeEngineMs] = options.engineMs ?? [prefill.engineMs, decode.engineMs];
  const [decodeByPrefill, prefillByDecode] = options.contention ?? [
    contention.decodeByPrefill,
    contention.prefillByDecode,
  ];
  const overlapToPrefill = options.overlapToPrefill ?? contention.overlapToPrefill;
  return {
    ...base,
    gpus: options.gpus ?? tp ?? base.gpus ?? 1,
    smCount: options.smCount ?? base.smCount,
    smPerTpc: options.smPerTpc ?? base.smPerTpc,
    prefill: { ...prefill, engineMs: prefillEngineMs },
    decode: { ...decode, engineMs: decodeEngineMs },
    contention: { ...contention, decodeByPrefill, prefillByDecode, overlapToPrefill },
    ...kvPool(base, options),
    maxBatch: options.maxBatch ?? base.maxBatch,
    maxBatchedTokens: options.maxBatchedTokens ?? base.maxBatchedTokens,
  };
}

/** Whole blocks. */
function kvPool(base: Profile, options: Settings): Pick<Profile, "kvTotalTokens" | "kvBlockTokens"> {
  const kvBlockTokens = options.kvBlockTokens ?? base.kvBlockTokens;
  const kvTokens = options.kvTokens ?? base.kvTotalTokens;
  if (kvTokens < kvBlockTokens)
    throw usageError(`--kv-tokens must hold at least one block of ${kvBlockTokens}`);
  return { kvTotalTokens: Math.floor(kvTokens / kvBlockTokens) * kvBlockTokens, kvBlockTokens };
}

function slug(label: string): string {
  const text = label
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
  return text === "" ? "fitted" : text;
}

function pairIn(least: number, most: number): (text: string) => Pair {
  const parse = numberIn(least, most);
  return (text) => {
    const [first, second, ...rest] = text.split(",");
    if (first === undefined || second === undefined || rest.length > 0)
      throw new InvalidArgumentError("It must be two numbers, such as 15,8.");
    return [parse(first), parse(second)];
  };
}
