import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { parse } from "yaml";
import { failed } from "../failure.js";
import { agentConfigText } from "./agent-config.js";
import { ChildLog } from "./child-log.js";
import { readyIn } from "./processes.js";
import { Stack } from "./stack.js";
import {
  dataDirOf,
  newKey,
  readRunning,
  readSecret,
  readStateFolder,
  statePaths,
  writePrivate,
  writeRunning,
} from "./state-folder.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "fulcrum-cli-test-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("the state folder", () => {
  it("is the named one, else FULCRUM_DATA_DIR, else this machine's usual place", () => {
    expect(dataDirOf({ FULCRUM_DATA_DIR: "/b" }, "/a")).toBe("/a");
    expect(dataDirOf({ FULCRUM_DATA_DIR: "/b" })).toBe("/b");
    expect(dataDirOf({})).toMatch(/fulcrum$/);
  });

  it("keeps secrets for their owner alone, also when the file was open to all before", () => {
    const file = join(folder, "admin.key");
    writeFileSync(file, "old", { mode: 0o644 });
    writePrivate(file, "fk_new\n");
    expect(readSecret(file)).toBe("fk_new");
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it("finds a running `fulcrum up`, and not one whose process has ended", () => {
    const paths = statePaths(folder);
    const env = { FULCRUM_DATA_DIR: folder };
    expect(readStateFolder(env)).toBeNull();
    writePrivate(paths.adminKey, "fk_x\n");
    writeRunning(paths.running, { url: "http://127.0.0.1:7070", pid: process.pid, startedAtMs: 1 });
    expect(readStateFolder(env)).toEqual({ url: "http://127.0.0.1:7070", adminKey: "fk_x" });
    // Linux and macOS give no process this number.
    writeRunning(paths.running, { url: "http://127.0.0.1:7070", pid: 2_147_483_646, startedAtMs: 1 });
    expect(readStateFolder(env)).toBeNull();
  });

  it.each(["", "{", "[]", '{"url":"x","pid":1,"startedAtMs":1}'])("takes %j for no running file", (text) => {
    const file = join(folder, "running.json");
    writeFileSync(file, text);
    expect(readRunning(file)).toBeNull();
  });

  it("makes keys that the controller accepts, each another", () => {
    expect(newKey()).toMatch(/^fk_[A-Za-z0-9_-]{32,}$/);
    expect(newKey()).not.toBe(newKey());
  });
});

describe("ChildLog", () => {
  it("keeps the last lines at hand and everything in the file", () => {
    const log = new ChildLog(join(folder, "a.log"));
    for (let i = 0; i < 100; i += 1) log.write(`line ${i}\nhalf of`);
    log.close();
    log.write("too late for the file\n");
    expect(log.tail()).toHaveLength(30);
    expect(log.tail().at(-1)).toContain("too late");
    expect(readFileSync(log.file, "utf8")).toContain("line 0\n");
  });

  it("starts the file anew when it is full, and keeps the one before", () => {
    const log = new ChildLog(join(folder, "b.log"));
    const megabyte = "x".repeat(1_048_575) + "\n";
    for (let i = 0; i < 11; i += 1) log.write(megabyte);
    log.close();
    expect(statSync(log.file).size).toBeLessThan(4 * 1_048_576);
    expect(statSync(`${log.file}.1`).size).toBeLessThan(10 * 1_048_576);
  });
});

it.each([
  ['{"event":"ready","port":7}\n', { event: "ready", port: 7 }],
  ['warming up\n{"event":"starting"}\n{"event":"ready"}\nmore\n', { event: "ready" }],
  ['{"event":"ready","port":', null],
  ["null\n3\n", null],
])("the ready line in %j", (text, want) => expect(readyIn(text)).toEqual(want));

it("writes an agent's configuration for engines here", () => {
  const engine = { name: "feedback", socket: "/s/2.sock", metricsUrl: "http://127.0.0.1:1/metrics" };
  const text = agentConfigText({
    agent: "demo",
    controllerUrl: "http://127.0.0.1:2",
    keyFile: "/k",
    stateDir: "/d",
    windowMs: 1_000,
    instances: [{ engine, pool: "p" }],
  });
  expect(parse(text)).toEqual({
    agent: "demo",
    controller: { url: "http://127.0.0.1:2", keyFile: "/k" },
    stateDir: "/d",
    windowMs: 1_000,
    instances: [
      {
        instance: "feedback",
        pool: "p",
        ranks: [0],
        rankCount: 1,
        reader: { type: "sglang", url: "http://127.0.0.1:1/metrics" },
        driver: { type: "engine-sim", socket: "/s/2.sock" },
      },
    ],
  });
});

describe("Stack", () => {
  const forever = new Promise<never>(() => undefined);

  it("stops newest first, each once, and tells at the end what could not be stopped", async () => {
    const stopped: string[] = [];
    const stack = new Stack();
    for (const name of ["postgres", "controller", "agent"]) {
      const stop = async () => {
        stopped.push(name);
        if (name === "controller") throw new Error("it clings");
      };
      stack.add(name, { ended: forever, stop }, () => failed(name));
    }
    const both = await Promise.allSettled([stack.stop(), stack.stop()]);
    expect(stopped).toEqual(["agent", "controller", "postgres"]);
    expect(both[0]).toMatchObject({ status: "rejected", reason: { details: ["controller: it clings"] } });
  });

  it("tells the first unasked end, also to one who asks later, and none after stop()", async () => {
    const stack = new Stack();
    let end: (how: unknown) => void = () => undefined;
    const ended = new Promise((resolve) => (end = resolve));
    stack.add("engine", { ended, stop: async () => undefined }, (how) => failed(`engine: ${String(how)}`));
    const told = new Promise((resolve) => stack.onFailure(resolve));
    end("killed");
    expect(await told).toMatchObject({ message: "engine: killed" });
    expect(await new Promise((resolve) => stack.onFailure(resolve))).toBe(await told);
  });

  it("starts a part that ended again, stops the new one, and gives up on one that keeps ending", async () => {
    const told: string[] = [];
    const stack = new Stack((name, why) => told.push(`${name}: ${why.message}`));
    let end: (how: unknown) => void = () => undefined;
    const started: string[] = [];
    const stopped: string[] = [];
    const start = (which: string) => {
      started.push(which);
      const ended = new Promise((resolve) => (end = resolve));
      return { ended, stop: async () => void stopped.push(which) };
    };
    stack.add(
      "engine",
      start("first"),
      (how) => failed(String(how)),
      async () => start("second"),
    );
    end("killed");
    await vi.waitFor(() => expect(started).toEqual(["first", "second"]), 5_000);
    expect(told).toEqual(["engine: killed"]);
    await stack.stop();
    expect(stopped).toEqual(["second"]);

    const hopeless = new Stack(() => undefined);
    const again = async () => Promise.reject(new Error("no room"));
    hopeless.add(
      "agent",
      { ended: Promise.resolve("gone"), stop: async () => undefined },
      (how) => failed(String(how)),
      again,
    );
    expect(await new Promise((resolve) => hopeless.onFailure(resolve))).toMatchObject({
      message: "Error: no room",
    });
  });
});
