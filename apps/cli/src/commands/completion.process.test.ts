import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const BIN = fileURLToPath(new URL("../../bin/fulcrum.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "fulcrum-completion-"));
const agent = (name: string) => ({
  id: "0199f0c2-0000-7000-8000-000000000001",
  name,
  node: "n",
  agentVersion: "1",
  instances: [],
  lastSeenAt: "2026-11-22T12:00:00.000Z",
  clockSkewMs: 0,
  conditions: [],
  createdAt: "2026-11-22T12:00:00.000Z",
});
/** Answers one list, and holds the other for ever. */
const server: Server = createServer((request, response) => {
  if (request.url !== "/v1/agents") return;
  const body = { items: ["node-a", "node-b", "other"].map(agent) };
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
});

beforeAll(async () => {
  writeFileSync(join(folder, "fulcrum"), `#!/bin/sh\nexec "${process.execPath}" "${BIN}" "$@"\n`, {
    mode: 0o755,
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true });
});

/** What bash would offer for the words, the last of which is being typed. */
function offered(...words: readonly string[]): Promise<string[]> {
  const script = `
    source <(fulcrum completion bash)
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    _fulcrum fulcrum
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const env = { PATH: `${folder}:${process.env["PATH"]}`, FULCRUM_URL: url, FULCRUM_KEY: "fk", HOME: folder };
  return new Promise((resolve, reject) => {
    const child = spawn("bash", ["--norc", "-c", script, "bash", ...words], { env });
    let [out, err] = ["", ""];
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
    child.once("error", reject);
    child.once("close", () =>
      err === "" ? resolve(out.split("\n").filter((line) => line !== "")) : reject(new Error(err)),
    );
  });
}

describe("in a real bash", () => {
  test("commands, options and their values", async () => {
    expect(await offered("fulcrum", "pools", "cr")).toEqual(["create"]);
    expect(await offered("fulcrum", "apply", "--d")).toEqual(["--dry-run"]);
    expect(await offered("fulcrum", "pools", "set", "chat", "--mode", "")).toContain("enforce");
    expect(await offered("fulcrum", "pools", "set", "chat", "--mode", "=", "rec")).toEqual(["recommend"]);
  });

  test("names that the controller knows, and none without a word where it does not answer", async () => {
    expect(await offered("fulcrum", "agents", "get", "node-")).toEqual(["node-a", "node-b"]);
    expect(await offered("fulcrum", "pools", "get", "")).toEqual([]);
  });
});

test.each(["zsh", "fish"])("a script for %s that asks fulcrum itself", async (shell) => {
  const child = spawn(process.execPath, [BIN, "completion", shell]);
  let out = "";
  for await (const chunk of child.stdout) out += String(chunk);
  expect(out).toContain("__complete --");
});
