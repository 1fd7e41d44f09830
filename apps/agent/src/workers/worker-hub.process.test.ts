import { linkSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WorkerHub } from "./worker-hub.js";

let folder: string;
let hub: WorkerHub;
const heard: string[] = [];
const sockets: Socket[] = [];

const hello = (change: Record<string, unknown> = {}): string =>
  `${JSON.stringify({
    type: "hello",
    protocol: 1,
    worker: "w-1",
    pid: 4711,
    role: "decode",
    rank: 0,
    generation: 1,
    smPct: 40,
    state: "new",
    turn: null,
    iteration: 0,
    smCount: null,
    ...change,
  })}\n`;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "fulcrum-hub-"));
  heard.length = 0;
  hub = await listen();
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await hub.close();
  rmSync(folder, { recursive: true, force: true });
});

function listen(): Promise<WorkerHub> {
  return WorkerHub.listen(
    { path: join(folder, "chat~0.sock"), rank: 0 },
    {
      connected: (_link, { worker }) => (heard.push(`connected ${worker}`), null),
      event: (worker, { event }) => void heard.push(`${worker} ${event}`),
      answer: () => undefined,
      disconnected: (worker) => void heard.push(`disconnected ${worker}`),
    },
  );
}

/** Connects, says the text, and gives the first line that comes back. */
async function say(text: string): Promise<{ readonly socket: Socket; readonly line: Promise<unknown> }> {
  const socket = connect(join(folder, "chat~0.sock"));
  sockets.push(socket);
  socket.on("error", () => undefined);
  await once(socket, "connect");
  const line = once(createInterface({ input: socket }), "line").then(
    ([first]) => JSON.parse(String(first)) as unknown,
  );
  line.catch(() => undefined);
  socket.write(text);
  return { socket, line };
}

describe("the socket of a rank", () => {
  test.each([
    ["speaks another version", hello({ protocol: 2 }), "protocol"],
    ["says what is not JSON", "hello\n", "bad_hello"],
    ["leaves out its role", hello({ role: undefined }), "bad_hello"],
    ["has another rank", hello({ rank: 3 }), "wrong_rank"],
    ["never ends its line", "x".repeat(70_000), "bad_line"],
  ])("refuses a worker that %s", async (_what, text, code) => {
    expect(await (await say(text)).line).toMatchObject({ type: "refused", code });
    expect(heard).toEqual([]);
  });

  test("refuses a second process under one id, and takes the same process on a new connection", async () => {
    await say(hello());
    await expect.poll(() => hub.link("w-1")).not.toBeNull();
    expect(await (await say(hello({ pid: 4712 }))).line).toMatchObject({ code: "duplicate" });
    await say(hello());
    await expect.poll(() => heard).toEqual(["connected w-1", "connected w-1"]);
    expect(hub.link("w-1")?.open).toBe(true);
  });

  test("asks in order and matches answers by id; a bad line ends the connection, not the hub", async () => {
    const { socket, line } = await say(hello());
    await expect.poll(() => hub.link("w-1")).not.toBeNull();
    const first = hub.link("w-1")!.request({ op: "hand_over", turn: 2 }, 5_000);
    const second = hub.link("w-1")!.request({ op: "status" }, 5_000);
    expect(await line).toMatchObject({ op: "hand_over" });
    const { id } = (await line) as { id: number };
    socket.write(`{"id":${id + 1},"ok":true,"iteration":5}\n{"id":${id},"ok":true,"iteration":6}\n`);
    expect(await second).toMatchObject({ iteration: 5 });
    expect(await first).toMatchObject({ iteration: 6 });
    const lost = hub.link("w-1")!.request({ op: "status" }, 5_000);
    socket.write('{"event":"progress","iteration":-1}\n');
    await expect(lost).rejects.toMatchObject({ code: "unreachable" });
    await expect.poll(() => heard.at(-1)).toBe("disconnected w-1");
    await say(hello());
    await expect.poll(() => hub.link("w-1")).not.toBeNull();
  });

  test("an answer to a request of an earlier connection is nobody's on the next one", async () => {
    const first = await say(hello());
    await expect.poll(() => hub.link("w-1")).not.toBeNull();
    const old = hub.link("w-1")!.request({ op: "hand_over", turn: 2 }, 5_000);
    const { id: oldId } = (await first.line) as { id: number };
    first.socket.destroy();
    await expect(old).rejects.toMatchObject({ code: "unreachable" });
    await expect.poll(() => heard.at(-1)).toBe("disconnected w-1");
    const second = await say(hello());
    await expect.poll(() => hub.link("w-1")).not.toBeNull();
    const now = hub.link("w-1")!.request({ op: "hand_over", turn: 4 }, 5_000);
    const { id } = (await second.line) as { id: number };
    expect(Number.isSafeInteger(id)).toBe(true);
    expect(id).toBeGreaterThan(oldId);
    second.socket.write(`{"id":${oldId},"ok":true,"iteration":5}\n{"id":${id},"ok":true,"iteration":9}\n`);
    expect(await now).toMatchObject({ id, iteration: 9 });
  });

  test("an answer that does not come has a limit", async () => {
    await say(hello());
    await expect.poll(() => hub.link("w-1")).not.toBeNull();
    await expect(hub.link("w-1")!.request({ op: "leave" }, 20)).rejects.toMatchObject({ code: "timeout" });
  });

  test("is claimed by one agent at a time; a socket that nobody listens on is replaced", async () => {
    await expect(listen()).rejects.toMatchObject({ code: "rank_claimed" });
    await hub.close();
    // As a killed agent leaves it: a file, and nobody behind it.
    const dead = createServer();
    await new Promise<void>((resolve) => {
      dead.listen(join(folder, "other.sock"), resolve);
    });
    rmSync(join(folder, "chat~0.sock"), { force: true });
    linkSync(join(folder, "other.sock"), join(folder, "chat~0.sock"));
    await new Promise<void>((resolve) => {
      dead.close(() => resolve());
    });
    hub = await listen();
    await say(hello());
    await expect.poll(() => hub.link("w-1")).not.toBeNull();
  });
});
