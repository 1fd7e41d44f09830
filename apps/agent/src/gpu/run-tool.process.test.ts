import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { liveness } from "@fulcrum/kv-pool/process-identity.js";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { runTool } from "./run-tool.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-tool-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test.each<[string, string, string]>([
  ["hangs", "wait", "timeout"],
  ["writes without end", "while :; do echo xxxxxxxxxxxxxxxx; done", "too_large"],
])("a tool that %s is killed with all that it started", async (_what, then, code) => {
  const file = join(folder, "tool");
  await writeFile(file, `#!/bin/sh\nsleep 600 &\necho $! > '${folder}/child'\n${then}\n`, { mode: 0o755 });
  const timeoutMs = code === "timeout" ? 1_000 : 60_000;
  await expect(runTool({ file, args: [], env: process.env, timeoutMs })).rejects.toMatchObject({ code });
  const child = Number(await readFile(join(folder, "child"), "utf8"));
  await vi.waitFor(() => expect(liveness({ pid: child, start: 0, pidNamespace: 0 })).toBe("gone"));
});
