import { resolve } from "node:path";
import { parseArgs } from "node:util";
import {
  LOAD_FLAGS,
  LOAD_HELP,
  loadSetup,
  type LoadSetup,
  numberFlag,
  OptionError,
  socketFlag,
} from "../options.js";

export interface ResidentOptions extends LoadSetup {
  /** FULCRUM_RESIDENT: the Unix socket for workers. */
  readonly socket: string;
  /** The segment of the block pool. */
  readonly pool: string;
  readonly host: string;
  readonly port: number;
  readonly name: string;
  /** A bundled name, or an absolute path. */
  readonly profile: string;
  readonly prefillQuotaPct: number;
  readonly speed: number;
  readonly fineBuckets: boolean;
  readonly tokenLog: string | null;
  readonly exitWithParent: boolean;
}

export const RESIDENT_HELP = `engine-sim resident: holds requests, batch state, the KV block pool and the load of one rank; workers iterate

  --socket PATH          Unix socket for workers (default: FULCRUM_RESIDENT; at most 103 bytes)
  --pool PATH            segment of the KV block pool (default: the socket's path and .kv)
  --port N               HTTP port for /metrics and /health; 0 picks a free one (default 0)
  --host ADDR            address of the HTTP port (default 127.0.0.1)
  --name NAME            name in the ready line and the log (default engine-sim)
  --profile NAME|FILE    GPU and engine costs (default llama3-8b-a100)
  --quota Q              share of the pool that prefill may hold at first, 1..100 percent (default 100)
  --fine-buckets         finer histogram bounds than SGLang's defaults
  --token-log FILE       a line for every token that goes out: engine ms, request, token (for tests)
  --speed K              engine seconds per second, 0.01..100 (default 1)
  --exit-with-parent     end when standard input closes

${LOAD_HELP}`;

/** Throws OptionError. Returns "help" for --help. */
export function parseResidentOptions(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): ResidentOptions | "help" {
  const flags = parseFlags(args);
  if (flags.help === true) return "help";
  const socket = socketFlag(flags.socket ?? env["FULCRUM_RESIDENT"]);
  const profile = flags.profile ?? "llama3-8b-a100";
  return {
    ...loadSetup(flags),
    socket,
    pool: flags.pool ?? `${socket}.kv`,
    host: flags.host ?? "127.0.0.1",
    port: numberFlag("port", flags.port ?? "0", 0, 65_535, true),
    name: flags.name ?? "engine-sim",
    // A file, not a bundled name: workers may run in another folder.
    profile: /[./]/.test(profile) ? resolve(profile) : profile,
    prefillQuotaPct: numberFlag("quota", flags.quota ?? "100", 1, 100),
    speed: numberFlag("speed", flags.speed ?? "1", 0.01, 100),
    fineBuckets: flags["fine-buckets"] === true,
    tokenLog: flags["token-log"] ?? null,
    exitWithParent: flags["exit-with-parent"] === true,
  };
}

function parseFlags(args: readonly string[]) {
  const text = { type: "string" } as const;
  const yes = { type: "boolean" } as const;
  try {
    return parseArgs({
      args: [...args],
      strict: true,
      allowPositionals: false,
      options: {
        ...LOAD_FLAGS,
        socket: text,
        pool: text,
        host: text,
        port: text,
        name: text,
        profile: text,
        quota: text,
        speed: text,
        "fine-buckets": yes,
        "token-log": text,
        "exit-with-parent": yes,
        help: yes,
      },
    }).values;
  } catch (error) {
    throw new OptionError((error as Error).message);
  }
}
