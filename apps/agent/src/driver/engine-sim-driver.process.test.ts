import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { describeCountingDriver, describeDriver } from "../testing/driver-conformance.js";
import { FakeEngine } from "../testing/fake-engine.js";
import { MAX_LINE_BYTES } from "./control-connection.js";
import { EngineSimDriver } from "./engine-sim-driver.js";

let folder: string;
let closers: (() => Promise<void>)[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-driver-"));
  closers = [];
});
afterEach(async () => {
  for (const close of closers) await close();
  await rm(folder, { recursive: true, force: true });
});

const overSocket = async () => {
  const fake = await FakeEngine.start(join(folder, "engine.sock"));
  const driver = new EngineSimDriver({ socket: fake.socketPath, timeoutMs: 2_000 });
  closers.push(async () => {
    driver.close();
    await fake.stop();
  });
  return { driver, engine: fake.model, kill: () => fake.kill() };
};
describeDriver("over a control socket", overSocket);
describeCountingDriver("over a control socket", overSocket);

describe("a control socket that misbehaves", () => {
  async function against(
    answer: (socket: Socket, line: string) => void,
    timeoutMs = 200,
  ): Promise<EngineSimDriver> {
    const socket = join(folder, "bad.sock");
    const server: Server = createServer((client) => {
      client.on("error", () => client.destroy());
      client.on("data", (chunk) => answer(client, chunk.toString()));
      closers.push(() => Promise.resolve(void client.destroy()));
    });
    await new Promise<void>((resolve) => {
      server.listen(socket, resolve);
    });
    const driver = new EngineSimDriver({ socket, timeoutMs });
    closers.push(
      () => Promise.resolve(driver.close()),
      () =>
        new Promise((resolve) => {
          server.close(() => resolve());
        }),
    );
    return driver;
  }

  test.each<[string, (socket: Socket, line: string) => void, string]>([
    ["does not answer", () => undefined, "timeout"],
    ["answers what is not JSON", (socket) => socket.write("hello\n"), "bad_answer"],
    ["answers another request", (socket) => socket.write('{"id":99,"ok":true}\n'), "bad_answer"],
    ["answers without a state", (socket) => socket.write('{"id":1,"ok":true}\n'), "bad_answer"],
    ["never ends its line", (socket) => socket.write("x".repeat(MAX_LINE_BYTES + 1)), "bad_answer"],
    ["hangs up", (socket) => socket.destroy(), "unreachable"],
  ])("%s: an error with a name", async (_what, answer, code) => {
    const driver = await against(answer);
    await expect(driver.observe()).rejects.toMatchObject({ code, silent: true });
  });

  test("is heard again over a new connection", async () => {
    let hangUps = 1;
    const driver = await against((socket, line) => {
      hangUps -= 1;
      if (hangUps >= 0) return void socket.destroy();
      const { id } = JSON.parse(line) as { id: number };
      socket.write(`${JSON.stringify({ id, ok: false, code: "not_ready", message: "later" })}\n`);
    });
    await expect(driver.observe()).rejects.toMatchObject({ code: "unreachable" });
    await expect(driver.observe()).rejects.toMatchObject({ code: "not_ready", silent: false });
  });

  test("is not asked more than a bounded number of things at once", async () => {
    const driver = await against(() => undefined, 2_000);
    const asked = Array.from({ length: 17 }, () =>
      driver.observe().catch((error: { code: string }) => error.code),
    );
    expect(await asked[16]).toBe("busy");
    driver.close();
    expect(await asked[0]).toBe("unreachable");
  });
});
