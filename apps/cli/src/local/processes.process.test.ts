import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CliFailure } from "../failure.js";
import { startChild, type ChildSpec } from "./processes.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "fulcrum-cli-test-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const READY = `console.log(JSON.stringify({ event: "ready", port: 7 }));`;
const never = new AbortController().signal;

function spec(source: string, over: Partial<ChildSpec> = {}): ChildSpec {
  const script = join(folder, "child.mjs");
  writeFileSync(script, source);
  return { name: "child", script, args: [], logFile: join(folder, "child.log"), ...over };
}

describe("startChild", () => {
  it("returns the ready line's fields and stops the child with SIGTERM", async () => {
    const child = await startChild(spec(`console.error("hello"); ${READY} process.stdin.resume();`), never);
    expect(child.ready).toEqual({ event: "ready", port: 7 });
    await child.stop();
    expect(await child.exited).toEqual({ code: null, signal: "SIGTERM" });
    expect(child.log.tail().join("\n")).toContain("hello");
    await child.stop();
  });

  it("shows the last log lines of a child that ends before it is ready", async () => {
    const failing = startChild(spec(`console.error("port is taken"); process.exitCode = 3;`), never);
    await expect(failing).rejects.toMatchObject({
      message: "the child ended with exit code 3 before it was ready",
      details: expect.arrayContaining(["port is taken"]) as string[],
    });
  });

  it("gives up on a child that is not ready in time, and ends it", async () => {
    const slow = spec(`console.error(process.pid); process.stdin.resume();`, { readyLimitMs: 1_000 });
    const error = await startChild(slow, never).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(CliFailure);
    const { message, details } = error as CliFailure;
    expect(message).toBe("the child was not ready within 1 s");
    const pid = Number(details.find((line) => /^\d+$/.test(line)));
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  });

  it("kills a child that does not heed SIGTERM", async () => {
    const stubborn = `process.on("SIGTERM", () => {}); ${READY} process.stdin.resume();`;
    const child = await startChild(spec(stubborn, { stopLimitMs: 300 }), never);
    await child.stop();
    expect(await child.exited).toEqual({ code: null, signal: "SIGKILL" });
  });

  it("ends the child when it is no longer wanted while it starts", async () => {
    const abort = new AbortController();
    const starting = startChild(spec(`process.stdin.resume();`), abort.signal);
    abort.abort(new Error("Ctrl-C"));
    await expect(starting).rejects.toThrow("Ctrl-C");
  });
});
