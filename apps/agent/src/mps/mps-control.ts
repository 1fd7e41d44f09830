/**
 * Client of NVIDIA's MPS control daemon, through its own tool (actuation.md §2; docs.nvidia.com/deploy/mps). Version 2
 * takes a command on standard input, version 3 `module verb` arguments; the tool follows the daemon's version.
 */
import { runTool, ToolError, type ToolAnswer } from "../gpu/run-tool.js";
import {
  clientsOfCsv,
  clientsOfPs,
  percentageOf,
  pidsOf,
  serversOf,
  statusOf,
  unexpected,
  type MpsClient,
  type MpsServer,
  type ServerStatus,
} from "./mps-answers.js";
import { MpsError } from "./mps-error.js";
import type { MpsPort } from "./mps-port.js";

export type MpsProtocol = 2 | 3;

export interface MpsControlOptions {
  /** Names the daemon; set explicitly on every call, so that our own environment cannot point elsewhere. */
  readonly pipeDirectory: string;
  /** `auto` asks the daemon. */
  readonly protocol?: MpsProtocol | "auto";
  /** v3: the server to look after. Left out: the one of our user, or the only one. */
  readonly server?: string;
  /** Counts only the clients of this GPU (UUID, or ordinal under v3). Left out: all of the server. */
  readonly device?: string;
  /** Per GPU: `clientLimitOf`. */
  readonly clientLimit: number;
  /** Per call of the tool, which can hang. */
  readonly timeoutMs: number;
  readonly tool?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Calls that may wait for one daemon's answer to others; more is a daemon that has stopped answering. */
const MAX_WAITING = 64;
const NO_DAEMON = /cannot (find|connect to) MPS control daemon|failed to connect/i;
const FAULTED = /\bFAULT\b|MPS_SERVER_NOT_READY|error 807/i;

const WORST_FIRST: readonly ServerStatus[] = ["FAULT", "MISSING", "INITIALIZING", "ACTIVE"];

/** Every call throws MpsError; `no_daemon` and `missing_binary` are ordinary answers on a node without MPS. */
export class MpsControl implements MpsPort {
  readonly clientLimit: number;
  private known: MpsProtocol | null;

  constructor(private readonly options: MpsControlOptions) {
    this.clientLimit = options.clientLimit;
    this.known = options.protocol === 2 || options.protocol === 3 ? options.protocol : null;
  }

  /** The version that the running daemon speaks. */
  async protocol(): Promise<MpsProtocol> {
    this.known ??= await this.probe();
    return this.known;
  }

  /** PID of the server, of several the one that is worst off; null while the daemon has started none. */
  async serverPid(): Promise<number | null> {
    if ((await this.protocol()) === 3) return (await this.server3())?.pid ?? null;
    return (await this.worstServer2())?.pid ?? null;
  }

  /** `MISSING`: the daemon answers, and no server runs yet. Of several servers (v2) the worst. */
  async status(): Promise<ServerStatus> {
    if ((await this.protocol()) === 3) return (await this.server3())?.status ?? "MISSING";
    return (await this.worstServer2())?.status ?? "MISSING";
  }

  /** Client contexts of all servers (v2), or of ours (v3): one process may have several, and each counts. */
  async clients(): Promise<readonly MpsClient[]> {
    if ((await this.protocol()) === 3) {
      const server = await this.server3();
      if (server === null) return [];
      return clientsOfCsv(await this.ask3(["client", "list", `--server=${server.name}`, "--format=csv"]));
    }
    const servers = new Set((await this.serverPids2()).map(String));
    if (servers.size === 0) return [];
    return clientsOfPs(await this.ask2("ps")).filter(({ server }) => servers.has(server));
  }

  /** Contexts by device, as the tool names devices. */
  async deviceClients(): Promise<ReadonlyMap<string, readonly MpsClient[]>> {
    const byDevice = new Map<string, MpsClient[]>();
    for (const client of await this.clients()) {
      const device = client.device ?? "unknown";
      byDevice.set(device, [...(byDevice.get(device) ?? []), client]);
    }
    return byDevice;
  }

  async clientCount(): Promise<number> {
    const { device } = this.options;
    const clients = await this.clients();
    if (device === undefined) return clients.length;
    // v2 cuts the UUID short.
    return clients.filter((client) => client.device === null || device.startsWith(client.device)).length;
  }

  /**
   * Ends a client's work on the GPU cleanly and waits for it; the process goes on without a context (§2.3). Its PID
   * is the daemon's view of it. A client that is gone already is no error.
   */
  async terminateClient(clientPid: number): Promise<void> {
    const client = (await this.clients()).find(({ pid }) => pid === clientPid);
    if (!client) return;
    if ((await this.protocol()) === 3) {
      await this.ask3(["client", "terminate", String(clientPid)]);
      return;
    }
    const command = `terminate_client ${client.server} ${clientPid}`;
    const text = await this.ask2(command);
    if (text.trim() !== "0") throw unexpected(`${command} to print 0`, text);
  }

  /** Cap of clients that bring none of their own, percent of the GPU: v2 of the daemon, v3 of the default namespace. */
  async defaultActiveThreadPct(): Promise<number> {
    if ((await this.protocol()) === 2)
      return percentageOf(await this.ask2("get_default_active_thread_percentage"));
    const server = await this.server3();
    if (server === null) return 100;
    return percentageOf(
      await this.ask3(["namespace", "get", "default", server.name, "active-thread-percentage"]),
    );
  }

  /**
   * A v2 tool may refuse the words of v3 or ignore them, so that silence says nothing: then v2 is asked. v3 without a
   * server prints the header of its list, or refuses the words of v2; one that says nothing to both is neither.
   */
  private async probe(): Promise<MpsProtocol> {
    const list = await this.run(["server", "list", "--format=csv"], "");
    refuseMissingDaemon(list);
    const isList = list.exitCode === 0 && parses(serversOf, list.stdout);
    if (isList && list.stdout.trim() !== "") return 3;
    const percentage = await this.run([], "get_default_active_thread_percentage\n");
    refuseMissingDaemon(percentage);
    if (percentage.exitCode === 0 && parses(percentageOf, percentage.stdout)) return 2;
    const said = `${percentage.stdout}${percentage.stderr}`;
    if (isList && said.trim() !== "") return 3;
    throw unexpected("an answer of version 2 or 3", said);
  }

  private async serverPids2(): Promise<readonly number[]> {
    return pidsOf(await this.ask2("get_server_list"));
  }

  private async worstServer2(): Promise<{ readonly pid: number; readonly status: ServerStatus } | null> {
    let worst: { readonly pid: number; readonly status: ServerStatus } | null = null;
    for (const pid of await this.serverPids2()) {
      const status = statusOf(await this.ask2(`get_server_status ${pid}`));
      if (worst === null || WORST_FIRST.indexOf(status) < WORST_FIRST.indexOf(worst.status)) {
        worst = { pid, status };
      }
    }
    return worst;
  }

  private async server3(): Promise<MpsServer | null> {
    const servers = serversOf(await this.ask3(["server", "list", "--format=csv"]));
    const wanted = this.options.server;
    if (wanted !== undefined) return servers.find(({ name }) => name === wanted) ?? null;
    const ourName = `uid_${process.getuid?.() ?? 0}`;
    const own = servers.find(({ name }) => name === ourName);
    if (own || servers.length <= 1) return own ?? servers[0] ?? null;
    const names = servers.map(({ name }) => name).join(", ");
    throw new MpsError(
      "ambiguous_server",
      `the MPS daemon runs ${servers.length} servers (${names.slice(0, 200)}) and none is ${ourName}: name one as mps.server`,
    );
  }

  private async ask2(command: string): Promise<string> {
    return this.checked(await this.run([], `${command}\n`), command);
  }

  private async ask3(args: readonly string[]): Promise<string> {
    return this.checked(await this.run(args, ""), args.join(" "));
  }

  private checked(answer: ToolAnswer, command: string): string {
    const said = `${answer.stderr}\n${answer.stdout}`.trim();
    try {
      refuseMissingDaemon(answer);
    } catch (error) {
      // The next daemon may speak another version.
      if (typeof this.options.protocol !== "number") this.known = null;
      throw error;
    }
    if (answer.exitCode === 0) return answer.stdout;
    if (FAULTED.test(said))
      throw new MpsError("fault", `${command}: the MPS server is in FAULT: ${said.slice(0, 200)}`);
    throw unexpected(`${command} to succeed (it ended with ${String(answer.exitCode)})`, said);
  }

  private run(args: readonly string[], stdin: string): Promise<ToolAnswer> {
    const { pipeDirectory, timeoutMs, tool = "nvidia-cuda-mps-control", env = process.env } = this.options;
    const call = {
      file: tool,
      args,
      stdin,
      timeoutMs,
      env: { ...env, CUDA_MPS_PIPE_DIRECTORY: pipeDirectory },
    };
    return inTurn(pipeDirectory, () => runTool(call).catch(rethrown));
  }
}

/** One call at a time per daemon, whoever makes it. */
const turns = new Map<string, { last: Promise<unknown>; waiting: number }>();

async function inTurn<T>(daemon: string, work: () => Promise<T>): Promise<T> {
  const turn = turns.get(daemon) ?? { last: Promise.resolve(), waiting: 0 };
  turns.set(daemon, turn);
  if (turn.waiting >= MAX_WAITING) {
    throw new MpsError("timeout", `${MAX_WAITING} calls already wait for the MPS daemon in ${daemon}`);
  }
  turn.waiting += 1;
  const result = turn.last.then(work).finally(() => {
    turn.waiting -= 1;
    if (turn.waiting === 0) turns.delete(daemon);
  });
  turn.last = result.catch(() => undefined);
  return result;
}

function rethrown(error: unknown): never {
  if (!(error instanceof ToolError)) throw error;
  throw new MpsError(error.code === "too_large" ? "bad_answer" : error.code, error.message);
}

function refuseMissingDaemon({ stdout, stderr }: ToolAnswer): void {
  if (NO_DAEMON.test(stdout) || NO_DAEMON.test(stderr)) {
    throw new MpsError("no_daemon", "no MPS control daemon answers in this pipe directory");
  }
}

function parses(parser: (text: string) => unknown, text: string): boolean {
  try {
    parser(text);
  } catch {
    return false;
  }
  return true;
}
