import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";

import {
  LIMIT_MS,
  parentOf,
  parentProcess,
  query,
  ready,
  started,
  unusedPort,
} from "../test/running-postgres.js";
import { platformPackageFolder } from "./binaries.js";
import { temporaryDataDir } from "./default-data-dir.js";
import { startPostgres } from "./postgres.js";
import { goneWithin, processBirth } from "./process-table.js";
import { chooseRunAs } from "./run-as.js";
import { serverArguments, serverEnvironment } from "./server-settings.js";

describe("one data folder, over its life", () => {
  let dataDir = "";
  beforeAll(async () => {
    dataDir = await temporaryDataDir();
  });
  afterAll(() => rm(dataDir, { recursive: true, force: true, maxRetries: 5 }));

  test("a new folder becomes a server that answers over TCP with the promised settings", async () => {
    const server = await started({ dataDir });
    expect(new URL(server.url).port).toBe(String(server.port));
    const names = [
      "server_encoding",
      "data_checksums",
      "fsync",
      "listen_addresses",
      "max_connections",
      "password_encryption",
    ];
    const rows = await query(
      server.url,
      `SELECT ${names.map((name) => `current_setting('${name}') ${name}`).join(", ")}`,
    );
    expect(rows).toEqual([
      {
        server_encoding: "UTF8",
        data_checksums: "on",
        fsync: "on",
        listen_addresses: "127.0.0.1",
        max_connections: "100",
        password_encryption: "scram-sha-256",
      },
    ]);
    expect(await query(server.url, "SELECT upper('ä') letter, current_database() db")).toEqual([
      { letter: "Ä", db: "fulcrum" },
    ]);
    await query(server.url, "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('before')");
  });

  test("only the password opens it, and only its owner may read the password", async () => {
    const server = await started({ dataDir });
    const wrong = new URL(server.url);
    wrong.password = "guess";
    await expect(query(wrong.href, "SELECT 1")).rejects.toThrow(/password authentication failed/);
    expect((await stat(join(dataDir, "postgres.password"))).mode & 0o777).toBe(0o600);
    await expect(startPostgres({ dataDir, password: "another" })).rejects.toThrow(/in use/);
  });

  test("a restart keeps the data, and stop may be called again", async () => {
    const server = await started({ dataDir, database: "another_one" });
    const kept = server.url.replace(/another_one$/, "fulcrum");
    expect(await query(kept, "SELECT word FROM kept")).toEqual([{ word: "before" }]);
    await Promise.all([server.stop(), server.stop()]);
    await server.stop();
    expect(await server.exited).toEqual({ expected: true, code: 0 });
    expect(await processBirth(server.pid)).toBeUndefined();
  });

  test("a password other than the folder's own is refused", async () => {
    await expect(startPostgres({ dataDir, password: "another" })).rejects.toThrow(
      /password asked for is not the one .*postgres\.password/,
    );
  });

  test("data of another major version is refused and left alone", async () => {
    const file = join(dataDir, "pgdata", "PG_VERSION");
    const own = await readFile(file, "utf8");
    await writeFile(file, "17\n");
    await expect(startPostgres({ dataDir })).rejects.toThrow(
      /made by Postgres 17, and the bundled one is 18/,
    );
    await writeFile(file, own);
    const server = await started({ dataDir });
    expect(await query(server.url, "SELECT word FROM kept")).toEqual([{ word: "before" }]);
  });

  test("a port that was asked for and is taken is named; another start picks a free one", async () => {
    const blocker = createServer().listen(0, "127.0.0.1");
    await once(blocker, "listening");
    onTestFinished(() => void blocker.close());
    const address = blocker.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    await expect(startPostgres({ dataDir, port })).rejects.toThrow(
      `Port ${port} on 127.0.0.1 is taken by another program`,
    );
    const server = await started({ dataDir });
    expect(server.port).not.toBe(port);
  });

  test("after kill -9 of the postmaster the owner learns of it, and the next start recovers what was committed", async () => {
    const server = await started({ dataDir });
    await query(server.url, "INSERT INTO kept VALUES ('committed')");
    process.kill(server.pid, "SIGKILL");
    expect(await server.exited).toEqual({ expected: false, code: 137 });
    const again = await started({ dataDir });
    expect(await query(again.url, "SELECT word FROM kept ORDER BY word")).toEqual([
      { word: "before" },
      { word: "committed" },
    ]);
  });

  test("a stale postmaster.pid whose number some other program has now does not stand in the way", async () => {
    const server = await started({ dataDir });
    process.kill(server.pid, "SIGKILL");
    await server.exited;
    const { switchTo } = await chooseRunAs(join(dataDir, "pgdata"));
    const other = spawn("sleep", ["120"], { stdio: "ignore", ...switchTo });
    onTestFinished(() => void other.kill("SIGKILL"));
    await once(other, "spawn");
    const file = join(dataDir, "pgdata", "postmaster.pid");
    const text = await readFile(file, "utf8");
    await writeFile(file, text.replace(/^\d+/, String(other.pid)));
    const again = await started({ dataDir });
    expect(await query(again.url, "SELECT 1 one")).toEqual([{ one: 1 }]);
    expect(other.exitCode ?? other.signalCode).toBeNull();
  });

  test("a server that nobody owns any more is stopped, and a new one takes its place", async () => {
    const cluster = join(dataDir, "pgdata");
    const { switchTo } = await chooseRunAs(cluster);
    const postgres = join(platformPackageFolder(process.platform, process.arch), "native", "bin", "postgres");
    const left = spawn(postgres, serverArguments(cluster, await unusedPort(), {}), {
      cwd: "/",
      env: serverEnvironment(),
      detached: true,
      stdio: ["ignore", "ignore", "pipe"],
      ...switchTo,
    });
    onTestFinished(() => void left.kill("SIGKILL"));
    const ended = once(left, "exit");
    for await (const line of createInterface({ input: left.stderr })) {
      if (line.includes("ready to accept connections")) break;
    }
    const server = await started({ dataDir });
    expect(await ended).toEqual([0, null]);
    expect(server.pid).not.toBe(left.pid);
    expect(await query(server.url, "SELECT count(*)::int n FROM kept")).toEqual([{ n: 2 }]);
  });

  test("when the keeper is killed, the server ends too and the owner learns of it", async () => {
    const server = await started({ dataDir });
    process.kill(await parentOf(server.pid), "SIGKILL");
    expect(await server.exited).toMatchObject({ expected: false });
    expect(await processBirth(server.pid)).toBeUndefined();
  });

  test("a folder in use by another live process is refused by that process' number, and it goes on serving", async () => {
    const parent = parentProcess(dataDir);
    const server = await ready(parent);
    await expect(startPostgres({ dataDir })).rejects.toThrow(
      `in use by process ${parent.child.pid}. Stop that one first`,
    );
    expect(await query(server.url, "SELECT 1 one")).toEqual([{ one: 1 }]);
    parent.child.kill("SIGTERM");
    expect(await once(parent.child, "exit")).toEqual([0, null]);
    expect(await processBirth(server.pid)).toBeUndefined();
  });

  test("kill -9 of the process that started it leaves no server, and the next start needs no recovery", async () => {
    const parent = parentProcess(dataDir);
    const server = await ready(parent);
    const keeper = await parentOf(server.pid);
    parent.child.kill("SIGKILL");
    const gone = async (): Promise<boolean> =>
      (await processBirth(server.pid)) === undefined && (await processBirth(keeper)) === undefined;
    expect(await goneWithin(gone, LIMIT_MS)).toBe(true);
    const lines: string[] = [];
    await started({ dataDir, log: (line) => lines.push(line) });
    expect(lines.join("\n")).not.toMatch(/not properly shut down/);
  });

  test("Ctrl-C reaches the application and not the server", async () => {
    const parent = parentProcess(dataDir);
    const server = await ready(parent);
    const heard = parent.line((line) => line === "SIGINT");
    // What a terminal does: the signal goes to the whole foreground process group.
    process.kill(-(parent.child.pid ?? Number.NaN), "SIGINT");
    await heard;
    expect(await query(server.url, "SELECT 1 one")).toEqual([{ one: 1 }]);
  });
});
