import { parseArgs } from "node:util";
import type { Allocation } from "@fulcrum/core/nouns.js";

/** A flag that is missing, unknown or out of bounds; the message names it. */
export class OptionError extends Error {
  override readonly name = "OptionError";
}

export type TraceFormat = "azure" | "mooncake" | "lengths";

/** A request attains when both hold. */
export interface SloBounds {
  readonly ttftMs: number;
  readonly tpotMs: number;
}

/** Where requests come from. */
export type LoadOptions =
  | { readonly kind: "workload"; readonly workload: string }
  | {
      readonly kind: "trace";
      readonly file: string;
      readonly format: TraceFormat;
      /** Requests per second; for lengths only, which carry no times. */
      readonly ratePerS: number | null;
    };

/** The load: which requests, and how they are read. */
export interface LoadSetup {
  readonly load: LoadOptions;
  readonly rateScale: number;
  readonly traceStartMs: number;
  readonly maxContextTokens: number;
  readonly maxPromptTokens: number;
  readonly once: boolean;
  readonly seed: number;
}

export interface EngineOptions extends LoadSetup {
  readonly host: string;
  readonly port: number;
  readonly socket: string;
  readonly name: string;
  readonly profile: string;
  readonly speed: number;
  /** Epoch milliseconds of engine time 0; null is the moment the engine is ready. */
  readonly startAtMs: number | null;
  readonly prepareMs: number;
  readonly initial: Allocation;
  readonly fineBuckets: boolean;
  /** Bounds that finished requests are counted against; null when none were given. */
  readonly slo: SloBounds | null;
  /** Latencies are told by the workload's kinds too. */
  readonly tellsClasses: boolean;
  readonly exitWithParent: boolean;
}

export const LOAD_HELP = `Load (default --workload chat-and-documents; every load repeats when it ends):
  --workload NAME|FILE   phases of Poisson arrivals
  --trace FILE --trace-format azure|mooncake|lengths
                         recorded requests; lengths are drawn at random at --rate
  --rate R               requests per second for --trace-format lengths
  --rate-scale S         multiplies the rate; a trace with times is stretched, t' = t/S (default 1)
  --trace-start-s S      where in the load engine time 0 lies (default 0)
  --max-context N        requests with more tokens in and out are dropped and counted (default 8192)
  --truncate-prompt N    longer prompts of a trace are cut (default: not)
  --once                 end with the load instead of repeating it
  --seed N               0..4294967295 (default 1); the same seed gives the same requests
`;

export const HELP = `engine-sim: a process that stands in for an LLM engine with a prefill and a decode worker

  --socket PATH          control socket to listen on (required; at most 103 bytes)
  --port N               HTTP port for /metrics and /health; 0 picks a free one (default 0)
  --host ADDR            address of the HTTP port (default 127.0.0.1)
  --name NAME            name in the ready line and the log (default engine-sim)
  --profile NAME|FILE    GPU and engine costs (default llama3-8b-a100)
  --initial X,Y,Q        start-up prefill cap, decode cap, KV quota; 5..100 each (default 100,100,100)
  --prepare-ms N         engine time that preparing a split takes (default 2000)
  --fine-buckets         finer histogram bounds than SGLang's defaults
  --slo-ttft-ms N --slo-tpot-ms N
                         count finished requests by which of the two bounds they kept
  --classes              tell arrivals and latencies by the workload's kinds too (SLO classes)

${LOAD_HELP}
Time:
  --speed K              engine seconds per second, 0.01..1000 (default 1)
  --start-at EPOCH_MS    when engine time 0 is, so that several engines see the same arrivals at the same
                         time; at most 24 h from now. Started late, an engine joins at the engine time it
                         then is and skips what came before (default: when ready)
  --exit-with-parent     end when standard input closes

engine-sim resident --help and engine-sim worker --help: the same engine as separate processes that an agent moves.
`;

/** Reads the command line. Throws OptionError. Returns "help" for --help. */
export function parseOptions(args: readonly string[], nowAtMs: number): EngineOptions | "help" {
  const flags = parseFlags(args);
  if (flags.help === true) return "help";
  const startAt = flags["start-at"];
  return {
    host: flags.host ?? "127.0.0.1",
    port: numberFlag("port", flags.port ?? "0", 0, 65_535, true),
    socket: socketFlag(flags.socket),
    name: flags.name ?? "engine-sim",
    profile: flags.profile ?? "llama3-8b-a100",
    ...loadSetup(flags),
    speed: numberFlag("speed", flags.speed ?? "1", 0.01, 1000),
    startAtMs: startAt === undefined ? null : startAtFlag(startAt, nowAtMs),
    prepareMs: numberFlag("prepare-ms", flags["prepare-ms"] ?? "2000", 0, 3_600_000),
    initial: initialFlag(flags.initial ?? "100,100,100"),
    fineBuckets: flags["fine-buckets"] === true,
    slo: sloFlags(flags["slo-ttft-ms"], flags["slo-tpot-ms"]),
    tellsClasses: flags.classes === true,
    exitWithParent: flags["exit-with-parent"] === true,
  };
}

const text = { type: "string" } as const;
const yes = { type: "boolean" } as const;

export const LOAD_FLAGS = {
  workload: text,
  trace: text,
  "trace-format": text,
  rate: text,
  "rate-scale": text,
  "trace-start-s": text,
  "max-context": text,
  "truncate-prompt": text,
  once: yes,
  seed: text,
} as const;

type LoadFlags = {
  readonly [F in keyof typeof LOAD_FLAGS]?:
    | ((typeof LOAD_FLAGS)[F]["type"] extends "string" ? string : boolean)
    | undefined;
};

function parseFlags(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      strict: true,
      allowPositionals: false,
      options: {
        ...LOAD_FLAGS,
        host: text,
        port: text,
        socket: text,
        name: text,
        profile: text,
        speed: text,
        "start-at": text,
        "prepare-ms": text,
        initial: text,
        "fine-buckets": yes,
        "slo-ttft-ms": text,
        "slo-tpot-ms": text,
        classes: yes,
        "exit-with-parent": yes,
        help: yes,
      },
    }).values;
  } catch (error) {
    throw new OptionError((error as Error).message);
  }
}

/** Throws OptionError. */
export function loadSetup(flags: LoadFlags): LoadSetup {
  return {
    load: loadFlags(flags),
    rateScale: numberFlag("rate-scale", flags["rate-scale"] ?? "1", 0.001, 1000),
    traceStartMs: numberFlag("trace-start-s", flags["trace-start-s"] ?? "0", 0, 1e6) * 1000,
    maxContextTokens: numberFlag("max-context", flags["max-context"] ?? "8192", 2, 1e7, true),
    maxPromptTokens: numberFlag("truncate-prompt", flags["truncate-prompt"] ?? "10000000", 1, 1e7, true),
    once: flags.once === true,
    seed: numberFlag("seed", flags.seed ?? "1", 0, 2 ** 32 - 1, true),
  };
}

function loadFlags(flags: LoadFlags): LoadOptions {
  const { workload, trace, rate } = flags;
  const format = flags["trace-format"];
  if (trace === undefined) {
    if (format !== undefined || rate !== undefined) {
      throw new OptionError("--trace-format and --rate need --trace FILE");
    }
    return { kind: "workload", workload: workload ?? "chat-and-documents" };
  }
  if (workload !== undefined) throw new OptionError("--workload and --trace exclude each other");
  if (format !== "azure" && format !== "mooncake" && format !== "lengths") {
    throw new OptionError(`--trace-format must be azure, mooncake or lengths, got ${format ?? "nothing"}`);
  }
  if (format !== "lengths") {
    if (rate !== undefined)
      throw new OptionError(`--rate is for lengths; stretch ${format} with --rate-scale`);
    return { kind: "trace", file: trace, format, ratePerS: null };
  }
  if (rate === undefined)
    throw new OptionError("--trace-format lengths needs --rate: lengths carry no times");
  if (flags["trace-start-s"] !== undefined) {
    throw new OptionError("--trace-start-s does not fit lengths: they carry no times");
  }
  return { kind: "trace", file: trace, format, ratePerS: numberFlag("rate", rate, 0.001, 10_000) };
}

export function numberFlag(flag: string, given: string, min: number, max: number, whole = false): number {
  const value = given.trim() === "" ? Number.NaN : Number(given);
  if (!(value >= min && value <= max) || (whole && !Number.isInteger(value))) {
    throw new OptionError(`--${flag} must be a ${whole ? "whole " : ""}number ${min}..${max}, got ${given}`);
  }
  return value;
}

export function socketFlag(path: string | undefined): string {
  if (path === undefined) throw new OptionError("--socket PATH is required");
  // The kernel's limit is 107 bytes on Linux and 103 on macOS; beyond it the path is cut silently.
  const bytes = Buffer.byteLength(path);
  if (bytes < 1 || bytes > 103) throw new OptionError(`--socket must be 1..103 bytes long, got ${bytes}`);
  return path;
}

function startAtFlag(text: string, nowAtMs: number): number {
  const dayMs = 24 * 3600 * 1000;
  return numberFlag("start-at", text, Math.floor(nowAtMs) - dayMs, Math.ceil(nowAtMs) + dayMs);
}

function sloFlags(ttft: string | undefined, tpot: string | undefined): SloBounds | null {
  if (ttft === undefined && tpot === undefined) return null;
  if (ttft === undefined || tpot === undefined) {
    throw new OptionError("--slo-ttft-ms and --slo-tpot-ms go together");
  }
  return {
    ttftMs: numberFlag("slo-ttft-ms", ttft, 0.001, 3_600_000),
    tpotMs: numberFlag("slo-tpot-ms", tpot, 0.001, 3_600_000),
  };
}

function initialFlag(text: string): Allocation {
  const parts = text.split(",");
  if (parts.length !== 3) throw new OptionError(`--initial must be X,Y,Q, got ${text}`);
  const [prefillSmPct = 0, decodeSmPct = 0, kvQuotaPct = 0] = parts.map((part) =>
    numberFlag("initial", part, 5, 100),
  );
  return { split: { prefillSmPct, decodeSmPct }, kvQuotaPct };
}
