import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { WorkerHello, WorkerRequest } from "@fulcrum/contracts/worker-protocol.js";
import { AgentLink, type Asked } from "./agent-link.js";
import { onLines } from "./lines.js";

const HELLO: WorkerHello = {
  type: "hello",
  protocol: 1,
  worker: "w-1",
  pid: 1,
  role: "decode",
  rank: 0,
  generation: 0,
  smPct: 40,
  state: "new",
  turn: null,
  iteration: 0,
  smCount: null,
};
const REFUSED = { type: "refused", code: "duplicate", message: "w-1 is connected already" };

interface Connection {
  readonly socket: Socket;
  readonly lines: Record<string, unknown>[];
}

let folder = "";
let server: Server;
let connections: Connection[] = [];
let asked: { readonly as: Asked; readonly request: WorkerRequest }[] = [];
let link: AgentLink;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "fulcrum-link-"));
  [connections, asked] = [[], []];
  server = createServer((socket) => {
    const lines: Record<string, unknown>[] = [];
    connections.push({ socket, lines });
    onLines(
      socket,
      65_536,
      (line) => lines.push(JSON.parse(line) as Record<string, unknown>),
      () => undefined,
    );
    socket.on("error", () => undefined);
  });
  const path = join(folder, "a");
  await new Promise<void>((resolve) => {
    server.listen(path, resolve);
  });
  link = new AgentLink(path, {
    hello: () => HELLO,
    request: (as, request) => asked.push({ as, request }),
  });
  link.open();
});
afterEach(() => {
  link.close();
  for (const { socket } of connections) socket.destroy();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

async function connection(index: number): Promise<Connection> {
  await vi.waitUntil(() => (connections[index]?.lines.length ?? 0) > 0, { timeout: 5_000 });
  const found = connections[index];
  if (found === undefined) throw new Error("not reached");
  expect(found.lines[0]).toEqual(HELLO);
  return found;
}

function say({ socket }: Connection, value: unknown): void {
  socket.write(`${typeof value === "string" ? value : JSON.stringify(value)}\n`);
}

async function answers(of: Connection, count: number): Promise<readonly Record<string, unknown>[]> {
  await vi.waitUntil(() => of.lines.length > count, { timeout: 5_000 });
  return of.lines.slice(1);
}

test("a request of a connection that broke is never answered on the next one, where its id is another's", async () => {
  const first = await connection(0);
  say(first, { id: 1, op: "hand_over", turn: 8, at: null });
  await vi.waitUntil(() => asked.length === 1);
  first.socket.destroy();
  const second = await connection(1);
  say(second, { id: 1, op: "status" });
  await vi.waitUntil(() => asked.length === 2);
  for (const { as, request } of asked) link.accept(as, { iteration: request.op === "status" ? 2 : 1 });
  expect(await answers(second, 1)).toEqual([{ id: 1, ok: true, iteration: 2 }]);
});

test("refused hellos leave it alone since when it was; a request ends that", async () => {
  const { aloneSinceMs } = link;
  expect(aloneSinceMs).not.toBeNull();
  for (const index of [0, 1]) {
    const refusing = await connection(index);
    refusing.socket.end(`${JSON.stringify(REFUSED)}\n`);
  }
  const third = await connection(2);
  expect(link.aloneSinceMs).toBe(aloneSinceMs);
  say(third, { id: 1, op: "status" });
  await vi.waitUntil(() => link.aloneSinceMs === null);
  third.socket.destroy();
  await vi.waitUntil(() => link.aloneSinceMs !== null);
  expect(link.aloneSinceMs).toBeGreaterThan(aloneSinceMs ?? 0);
});

test("an agent that asks nothing and does not refuse has it too", async () => {
  await connection(0);
  await vi.waitUntil(() => link.aloneSinceMs === null, { timeout: 5_000 });
});

test.each([
  ["not JSON", "{", null, /not JSON/],
  ["not an object", "[1]", null, /id/],
  ["an id that is text", { id: "1", op: "status" }, null, /id/],
  ["an unknown op", { id: 4, op: "jump" }, 4, /op/],
  ["an op of another type", { id: 4, op: 7 }, 4, /op/],
  ["a turn that is text", { id: 5, op: "iterate", turn: "8" }, 5, /turn/],
  ["a turn that is missing", { id: 5, op: "iterate" }, 5, /turn/],
  ["a turn of 0", { id: 6, op: "hand_over", turn: 0 }, 6, /turn/],
  ["a take that is a number", { id: 7, op: "iterate", turn: 8, take: 1 }, 7, /take/],
  ["an iteration with decimals", { id: 8, op: "hand_over", turn: 8, at: 1.5 }, 8, /at/],
] as const)(
  "%s is a bad_request that names what is wrong, with the id where there is one",
  async (_what, line, id, names) => {
    const agent = await connection(0);
    say(agent, line);
    const [answer] = await answers(agent, 1);
    expect(answer).toMatchObject({ id, ok: false, code: "bad_request" });
    expect(answer?.["message"]).toMatch(names);
    expect(asked).toEqual([]);
  },
);
