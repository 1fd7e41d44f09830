/** What an evaluation reads: a profile, the bundled length tables, and measured sets where they are at hand. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LengthSet } from "@fulcrum/evaluation/lengths.js";
import type { Kind } from "@fulcrum/evaluation/scenarios.js";
import type { WorldParts } from "@fulcrum/evaluation/world.js";
import { fitToContext, type FittedTrace, type Lengths } from "@fulcrum/simulator/arrivals.js";
import { parseProfile, type Profile } from "@fulcrum/simulator/profile.js";
import { parseAzureCsv, parseLengthsCsv, parseMooncakeJsonl } from "@fulcrum/simulator/trace-formats.js";
import { parseWorkload } from "@fulcrum/simulator/workload.js";
import { failed } from "../failure.js";

/** The same folders seen from src and from dist. */
const REPOSITORY = fileURLToPath(new URL("../../../..", import.meta.url));
const BUNDLED_PROFILE = join(REPOSITORY, "apps/engine-sim/data/llama3-8b-a100.json");
const BUNDLED_CHAT_AND_DOCUMENTS = join(REPOSITORY, "apps/engine-sim/data/chat-and-documents.json");
const BUNDLED_OTHERS = join(REPOSITORY, "apps/cli/data/conversation-and-long-answers.json");

/** ShareGPT's window in the paper's preparation; Llama-3's own. */
const CHAT_CONTEXT = 4_096;
const MODEL_CONTEXT = 8_192;

/** Measured sets, within their folder. */
const FILES = {
  shareGpt: "lengths/sharegpt_lengths.csv",
  longBench: "lengths/longbench_lengths.csv",
  azure: "azure2023/AzureLLMInferenceTrace_conv_first30min.csv",
  mooncake: "mooncake/synthetic_trace.jsonl",
} as const;

export interface InputFiles {
  /** Null: the bundled one. */
  readonly profile: string | null;
  /** A folder of measured sets; null: only what is bundled. */
  readonly dataDir: string | null;
}

/**
 * The folder of measured sets: the one asked for, else `FULCRUM_DATA_DIR`, else `shared/data` beside the
 * repository where there is one. Null: the bundled tables serve, also when `none` is asked for. Throws CliFailure
 * on a folder that holds none of the sets.
 */
export function dataDirOf(
  asked: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): string | null {
  const named = asked ?? env["FULCRUM_DATA_DIR"];
  if (named === "none") return null;
  const folder = named ?? join(REPOSITORY, "../shared/data");
  const found = Object.values(FILES).some((file) => existsSync(join(folder, file)));
  if (!found && named !== undefined) {
    throw failed(`${named} holds none of the measured sets`, Object.values(FILES));
  }
  return found ? folder : null;
}

/** Throws SimulatorInputError naming the file and the field or line. */
export function loadWorld(files: InputFiles): WorldParts {
  const bundled = bundledLengths();
  const measured = files.dataDir === null ? { lengths: {}, traces: {} } : measuredSets(files.dataDir);
  return {
    profile: loadProfile(files.profile ?? BUNDLED_PROFILE),
    lengths: { ...bundled, ...measured.lengths },
    traces: measured.traces,
  };
}

function loadProfile(path: string): Profile {
  return parseProfile(readJson(path), path);
}

function bundledLengths(): WorldParts["lengths"] {
  const chat = parseWorkload(readJson(BUNDLED_CHAT_AND_DOCUMENTS), "chat-and-documents.json");
  const others = parseWorkload(readJson(BUNDLED_OTHERS), "conversation-and-long-answers.json");
  const set = (table: LengthTable | undefined, after: string): LengthSet => {
    if (table === undefined) throw failed(`the bundled lengths after ${after} are missing`);
    return { source: { kind: "table", table }, about: `bundled quantile table after ${after}` };
  };
  return {
    chat: set(chat.kinds["chat"], "ShareGPT"),
    documents: set(chat.kinds["document"], "LongBench cut at 3,200 tokens"),
    conversation: set(others.kinds["conversation"], "Azure's conversations of 2023"),
    "long-answers": set(others.kinds["long-answers"], "ShareGPT: prompts under 60 tokens, answers over 300"),
  };
}

type LengthTable = Extract<LengthSet["source"], { kind: "table" }>["table"];

function measuredSets(folder: string): Pick<WorldParts, "lengths" | "traces"> {
  const lengths: Partial<Record<Kind, LengthSet>> = {};
  const traces: Partial<Record<Kind, WorldParts["traces"][Kind]>> = {};
  const chat = read(folder, FILES.shareGpt, (text, file) => shareGpt(parseLengthsCsv(text, file)));
  if (chat !== null) {
    lengths.chat = rows("ShareGPT", chat, "prompt and answer at least 4 and together at most 4,096");
    const long = chat.rows.filter((row) => row.promptTokens < 60 && row.outputTokens > 300);
    const about = `ShareGPT: ${count(long.length)} rows with a prompt under 60 and an answer over 300 tokens`;
    lengths["long-answers"] = { source: { kind: "rows", rows: long }, about };
  }
  const documents = read(folder, FILES.longBench, parseLengthsCsv);
  for (const [kind, cut] of [
    ["documents", 3200],
    ["documents-2040", 2040],
    ["documents-4000", 4000],
  ] as const) {
    if (documents === null) continue;
    lengths[kind] = rows(
      "LongBench",
      fitToContext(documents, MODEL_CONTEXT, cut),
      `prompts cut at ${count(cut)}`,
    );
  }
  const azure = read(folder, FILES.azure, parseAzureCsv);
  if (azure !== null) {
    const fitted = fitToContext(azure, MODEL_CONTEXT, MODEL_CONTEXT);
    lengths.conversation = rows("Azure conversations, 30 minutes of 2023", fitted, "together at most 8,192");
    traces.conversation = fitted.rows;
  }
  const mooncake = read(folder, FILES.mooncake, parseMooncakeJsonl);
  if (mooncake !== null) {
    // A long-context trace on an 8K model: prompts are cut so that the answer still fits.
    const fitted = fitToContext(mooncake, MODEL_CONTEXT, MODEL_CONTEXT - 1_000);
    lengths.mooncake = rows("Mooncake, synthetic", fitted, "prompts cut at 7,192");
    traces.mooncake = fitted.rows;
  }
  return { lengths, traces };
}

function shareGpt(all: readonly Lengths[]): FittedTrace<Lengths> {
  const usable = all.filter((row) => row.promptTokens >= 4 && row.outputTokens >= 4);
  const fitted = fitToContext(usable, CHAT_CONTEXT, CHAT_CONTEXT);
  return { ...fitted, droppedEmpty: fitted.droppedEmpty + all.length - usable.length };
}

function rows(name: string, fitted: FittedTrace<Lengths>, rule: string): LengthSet {
  const { droppedTooLong, droppedEmpty, truncated } = fitted;
  const lost = `${count(droppedTooLong)} too long, ${count(droppedEmpty)} too short, ${count(truncated)} cut`;
  return {
    source: { kind: "rows", rows: fitted.rows },
    about: `${name}: ${count(fitted.rows.length)} rows (${rule}; ${lost})`,
  };
}

/** Null when the folder has no such file. */
function read<T>(folder: string, name: string, parse: (text: string, file: string) => T): T | null {
  const path = join(folder, name);
  return existsSync(path) ? parse(readFileSync(path, "utf8"), name) : null;
}

function readJson(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw failed(`${path} cannot be read: ${(error as Error).message}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw failed(`${path} is no JSON: ${(error as Error).message}`);
  }
}

function count(value: number): string {
  return value.toLocaleString("en");
}
