import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeMps, installMpsControl } from "../testing/vendor/fake-mps.js";
import { MpsWatch } from "../workers/mps-watch.js";
import { MpsControl, type MpsControlOptions } from "./mps-control.js";
import { MpsError } from "./mps-error.js";
import { ServerLogTail } from "./server-log.js";

const DEVICE = "GPU-74d43ed3-cdf7-e667-3644-bf5b4f46ed65";
let folder: string;
let tool: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-mps-"));
  tool = await installMpsControl(join(folder, "bin"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const daemon = (protocol: 2 | 3, clientLimit = 48) =>
  FakeMps.start(join(folder, "pipe"), { protocol, clientLimit, device: DEVICE });

function control(over: Partial<MpsControlOptions> = {}): MpsControl {
  return new MpsControl({
    pipeDirectory: join(folder, "pipe"),
    clientLimit: 48,
    timeoutMs: 10_000,
    tool,
    ...over,
  });
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof MpsError) return error.code;
    throw error;
  }
  return "none";
}

/** v2 with two servers of two users, of which the second is in FAULT. */
function twoServers(asked: string): string {
  return `#!/bin/sh
[ $# -gt 0 ] && exit 1
read -r command
case "$command" in
  get_default*) echo 100.0 ;;
  get_server_list) printf '4242\\n5555\\n' ;;
  "get_server_status 5555") echo FAULT ;;
  get_server_status*) echo ACTIVE ;;
  ps) printf 'PID ID SERVER DEVICE NAMESPACE COMMAND\\n123 0 4242 GPU-a 1 a\\n777 0 5555 GPU-a 1 b\\n' ;;
  terminate_client*) echo "$command" >> '${asked}'; echo 0 ;;
esac
`;
}

/** v3 with two servers, neither of our user, of which the second is in FAULT. */
const SEVERAL_SERVERS = `#!/bin/sh
case "$1 $2 $3" in
  "server list"*)
    echo name,uid,pid,status,pipe-directory,allowed-devices,context-ids
    echo training,1000,48201,Ready,/run/nvidia-mps/training,GPU-a,-
    echo eval,1001,48202,Fault,/run/nvidia-mps/eval,GPU-a,- ;;
  "client list --server=eval") printf 'pid,server,device,namespace,command\\n777,eval,0,default,b\\n' ;;
  *) exit 1 ;;
esac
`;

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe.each([2, 3] as const)("MPS control of version %i", (protocol) => {
  test("finds the version by asking, and the server that the first client starts", async () => {
    const mps = await daemon(protocol);
    const client = control();
    expect(await client.status()).toBe("MISSING");
    expect(await client.serverPid()).toBeNull();
    expect(await client.clientCount()).toBe(0);
    await mps.connect(4_711, 40);
    expect(await client.protocol()).toBe(protocol);
    expect(await client.status()).toBe("ACTIVE");
    expect(await client.serverPid()).toBe(6_472);
    expect(await client.clients()).toMatchObject([{ pid: 4_711, command: "./worker --model a,b" }]);
    expect(await client.clientCount()).toBe(1);
    expect(await client.defaultActiveThreadPct()).toBe(100);
  });

  test("terminates a client, and takes one that is gone for done", async () => {
    const mps = await daemon(protocol);
    await mps.connect(1);
    await mps.connect(2);
    const client = control();
    await client.terminateClient(1);
    expect(await mps.client(1)).toBeNull();
    expect(await mps.client(2)).not.toBeNull();
    await client.terminateClient(1);
    expect((await client.clients()).map(({ pid }) => pid)).toEqual([2]);
  });

  test("tells FAULT until every client has exited; new ones get 807 until then", async () => {
    const mps = await daemon(protocol);
    await mps.connect(1);
    await mps.connect(2);
    await mps.fault();
    const client = control();
    expect(await client.status()).toBe("FAULT");
    await expect(mps.connect(3)).rejects.toMatchObject({ code: 807 });
    await mps.exit(1);
    expect(await client.status()).toBe("FAULT");
    await mps.exit(2);
    expect(await client.status()).toBe("ACTIVE");
    await mps.connect(3);
  });

  test("no daemon is told apart from a server that is not there, and is found when it comes", async () => {
    const client = control();
    expect(await codeOf(client.status())).toBe("no_daemon");
    const mps = await daemon(protocol);
    expect(await client.status()).toBe("MISSING");
    await mps.stop();
    expect(await codeOf(client.clients())).toBe("no_daemon");
    // The next daemon speaks the other version.
    await FakeMps.start(join(folder, "pipe"), { protocol: protocol === 2 ? 3 : 2 });
    expect(await client.serverPid()).toBeNull();
  });

  test.each([
    ["hang", "timeout"],
    ["garbage", "bad_answer"],
    ["flood", "bad_answer"],
  ] as const)(
    "a tool that answers with %s is the error %s, and works again afterwards",
    async (mode, code) => {
      const mps = await daemon(protocol);
      await mps.connect(1);
      await mps.setMode(mode);
      const client = control({ timeoutMs: mode === "hang" ? 1_000 : 10_000 });
      expect(await codeOf(client.clientCount())).toBe(code);
      if (mode === "hang") await vi.waitFor(async () => expect(isAlive(await mps.hungPid())).toBe(false));
      await mps.setMode("ok");
      expect(await control().clientCount()).toBe(1);
    },
  );
});

describe("the MPS daemon", () => {
  test("a tool that ignores the words of version 3 is not taken for one", async () => {
    await daemon(2);
    // Prints nothing for arguments that it does not know, as a shell at the end of its input does.
    const mute = join(folder, "mute");
    await writeFile(mute, `#!/bin/sh\n[ $# -gt 0 ] && exit 0\nexec '${tool}'\n`, { mode: 0o755 });
    expect(await control({ tool: mute }).protocol()).toBe(2);
  });

  test("one that says nothing at all is told as such", async () => {
    const mps = await daemon(2);
    await mps.connect(1);
    await mps.setMode("silent");
    expect(await codeOf(control({ protocol: 2 }).defaultActiveThreadPct())).toBe("bad_answer");
  });

  test("that says nothing to either version is no daemon in good order", async () => {
    const mute = join(folder, "mute");
    await writeFile(mute, "#!/bin/sh\nexit 0\n", { mode: 0o755 });
    expect(await codeOf(control({ tool: mute }).status())).toBe("bad_answer");
  });

  test("with several servers (v2) is as bad as the worst; a client is ended at its own server", async () => {
    const asked = join(folder, "asked");
    const two = join(folder, "two");
    await writeFile(two, twoServers(asked), { mode: 0o755 });
    const client = control({ tool: two });
    expect(await client.protocol()).toBe(2);
    expect(await client.status()).toBe("FAULT");
    expect(await client.serverPid()).toBe(5_555);
    expect((await client.clients()).map(({ pid, server }) => [pid, server])).toEqual([
      [123, "4242"],
      [777, "5555"],
    ]);
    await client.terminateClient(777);
    await client.terminateClient(123);
    expect(await readFile(asked, "utf8")).toBe("terminate_client 5555 777\nterminate_client 4242 123\n");
  });

  test("with several servers (v3) of which none is ours is refused until one is named", async () => {
    const several = join(folder, "several");
    await writeFile(several, SEVERAL_SERVERS, { mode: 0o755 });
    const unnamed = control({ tool: several });
    const told = { code: "ambiguous_server", message: expect.stringContaining("training, eval") as string };
    await expect(unnamed.status()).rejects.toMatchObject(told);
    await expect(unnamed.clientCount()).rejects.toMatchObject(told);
    await expect(unnamed.terminateClient(777)).rejects.toMatchObject(told);
    const watch = new MpsWatch(unnamed, () => undefined);
    expect(await watch.look()).toMatchObject({ code: "mps_ambiguous", retryable: true });
    expect(watch.mayStart).toBe(false);
    const named = control({ tool: several, server: "eval" });
    expect(await named.status()).toBe("FAULT");
    expect(await named.clients()).toMatchObject([{ pid: 777, server: "eval" }]);
  });

  test("a tool that is not installed is an ordinary answer", async () => {
    expect(await codeOf(control({ tool: join(folder, "none") }).status())).toBe("missing_binary");
  });

  test("is the one of the pipe directory, whatever our environment says", async () => {
    const mps = await daemon(2);
    await mps.connect(1);
    const elsewhere = join(folder, "elsewhere");
    const env = { ...process.env, CUDA_MPS_PIPE_DIRECTORY: elsewhere };
    expect(await control({ env }).clientCount()).toBe(1);
    expect(await codeOf(control({ env, pipeDirectory: elsewhere }).clientCount())).toBe("no_daemon");
  });

  test("gets one call at a time, also from two clients of ours", async () => {
    const mps = await daemon(2);
    await mps.connect(1);
    // The tool refuses to run twice at once.
    const lock = join(folder, "lock");
    const single = join(folder, "single");
    const script = `#!/bin/sh\nmkdir '${lock}' || exit 7\n'${tool}' "$@"\ncode=$?\nrmdir '${lock}'\nexit $code\n`;
    await writeFile(single, script, { mode: 0o755 });
    const clients = [control({ tool: single, protocol: 2 }), control({ tool: single, protocol: 2 })];
    const states = await Promise.all([...clients, ...clients].map((client) => client.status()));
    expect(states).toEqual(["ACTIVE", "ACTIVE", "ACTIVE", "ACTIVE"]);
  });

  test("a percentage reaches later clients only, and a client's own can only tighten it", async () => {
    const mps = await daemon(2);
    expect(await mps.connect(1, 80)).toMatchObject({ pct: 80 });
    await mps.setPercentage(50);
    expect(await mps.client(1)).toMatchObject({ pct: 80 });
    expect(await mps.connect(2, 80)).toMatchObject({ pct: 50 });
    expect(await mps.connect(3, 30)).toMatchObject({ pct: 30 });
  });

  test("counts the clients of one GPU by the beginning of its UUID; over the limit they get 808", async () => {
    const mps = await daemon(2, 2);
    await mps.connect(1);
    await mps.connect(2);
    await expect(mps.connect(3)).rejects.toMatchObject({ code: 808 });
    expect(await control({ device: DEVICE }).clientCount()).toBe(2);
    expect(await control({ device: "GPU-ffffffff-0000" }).clientCount()).toBe(0);
    expect([...(await control().deviceClients()).keys()]).toEqual([DEVICE.slice(0, 22)]);
  });
});

test("the server's log tells news only, also after it was rotated", async () => {
  const path = join(folder, "server.log");
  const fatal = "[2026-11-22 12:00:00.000 Other 9] Volta MPS: Server is handling a fatal GPU error.\n";
  const blamed = "[2026-11-22 12:00:00.000 Other 9] Volta MPS: status of client {4711, 1} is ACTIVE\n";
  await writeFile(path, fatal);
  const tail = new ServerLogTail(path);
  expect(await tail.look()).toBeNull();
  await appendFile(path, fatal + blamed);
  expect(await tail.look()).toMatchObject({ activeClients: [4_711] });
  expect(await tail.look()).toBeNull();
  await rm(path);
  expect(await tail.look()).toBeNull();
  await writeFile(path, fatal);
  expect(await tail.look()).not.toBeNull();
  expect(await new ServerLogTail(join(folder, "none")).look()).toBeNull();
});
