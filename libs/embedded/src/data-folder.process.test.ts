import { once } from "node:events";
import { chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { describe, expect, onTestFinished, test } from "vitest";

import {
  built,
  freshDataDir,
  isRoot,
  LIMIT_MS,
  parentProcess,
  query,
  ready,
  started,
} from "../test/running-postgres.js";
import { startPostgres } from "./postgres.js";
import { goneWithin, isServerOf } from "./process-table.js";
import { chooseRunAs, firstClosedFolder } from "./run-as.js";

describe("folders that are not ready to use", () => {
  test("kill -9 in the middle of initdb: the next start does it again", async () => {
    const dataDir = await freshDataDir();
    const parent = parentProcess(dataDir);
    await parent.line((line) => line.includes("with initdb"));
    await halfMade(dataDir);
    parent.child.kill("SIGKILL");
    await once(parent.child, "exit");
    expect(await readdir(dataDir)).not.toContain("pgdata");

    const server = await started({ dataDir });
    expect(await query(server.url, "SELECT 1 one")).toEqual([{ one: 1 }]);
    expect((await readdir(dataDir)).filter((name) => name.startsWith("pgdata"))).toEqual(["pgdata"]);
  });

  async function halfMade(dataDir: string): Promise<void> {
    const filled = async (): Promise<boolean> => {
      const name = (await readdir(dataDir)).find((name) => name.startsWith("pgdata.new-"));
      return name !== undefined && (await readdir(join(dataDir, name))).includes("base");
    };
    expect(await goneWithin(filled, LIMIT_MS)).toBe(true);
  }

  test("a folder with something else in it is refused and left as it was", async () => {
    const dataDir = await freshDataDir();
    await writeFile(join(dataDir, "thesis.txt"), "years of work");
    await expect(startPostgres({ dataDir })).rejects.toThrow(
      `${dataDir} is not empty and not a data folder of Fulcrum (it holds thesis.txt)`,
    );
    expect(await readdir(dataDir)).toEqual(["thesis.txt"]);
  });

  test("another program's Postgres folder is refused by its version and left as it was", async () => {
    const dataDir = await freshDataDir();
    await writeFile(join(dataDir, "PG_VERSION"), "16\n");
    await expect(startPostgres({ dataDir })).rejects.toThrow(
      /is a Postgres 16 data folder that Fulcrum did not/,
    );
    expect(await readdir(dataDir)).toEqual(["PG_VERSION"]);
  });

  test("a cluster that lost its PG_VERSION is refused, never made anew", async () => {
    const dataDir = await freshDataDir();
    await writeFile(join(dataDir, "FULCRUM-POSTGRES.txt"), "");
    await mkdir(join(dataDir, "pgdata", "base"), { recursive: true });
    const { switchTo } = await chooseRunAs(dataDir);
    if (switchTo !== undefined) await chown(join(dataDir, "pgdata"), switchTo.uid, switchTo.gid);
    await expect(startPostgres({ dataDir })).rejects.toThrow(/has no PG_VERSION, so it is damaged/);
    expect(await readdir(join(dataDir, "pgdata"))).toEqual(["base"]);
  });
});

describe("users", () => {
  test("root gets a clear error for a folder below one that Postgres' user cannot enter", async ({
    skip,
  }) => {
    skip(!isRoot, "needs root: others start Postgres as themselves");
    const closed = await mkdtemp(join(tmpdir(), "fulcrum-closed-"));
    onTestFinished(() => rm(closed, { recursive: true }));
    const { name } = await chooseRunAs(join(closed, "state"));
    await expect(startPostgres({ dataDir: join(closed, "state") })).rejects.toThrow(
      `the user ${name} cannot enter ${closed} (mode 700, uid 0). Postgres refuses to run as root`,
    );
    expect(await readdir(closed)).toEqual([]);
  });

  test("root makes missing parents of the data folder, even under umask 077", async ({ skip }) => {
    skip(!isRoot, "needs root: others start Postgres as themselves");
    const above = await freshDataDir();
    const umask = process.umask(0o077);
    onTestFinished(() => void process.umask(umask));
    const server = await started({ dataDir: join(above, "var", "lib", "fulcrum") });
    expect(await query(server.url, "SELECT 1 one")).toEqual([{ one: 1 }]);
  });

  test("a user who is not root runs it as themselves", async ({ skip }) => {
    skip(!isRoot, "needs root, to become another user; the other tests cover it when root does not run them");
    const passwd = await readFile("/etc/passwd", "utf8");
    const entry = /^nobody:[^:]*:(\d+):(\d+):/m.exec(passwd);
    skip(entry === null, "needs the user nobody in /etc/passwd");
    const as = { uid: Number(entry?.[1]), gid: Number(entry?.[2]) };
    for (const folder of [dirname(built), dirname(process.execPath)]) {
      const closed = await firstClosedFolder(folder, { name: "nobody", switchTo: as });
      skip(closed !== undefined, `needs a checkout and a Node that nobody can reach; ${closed} is closed`);
    }
    const dataDir = await freshDataDir();
    await chown(dataDir, as.uid, as.gid);
    const parent = parentProcess(dataDir, as);
    const server = await ready(parent);
    expect(await query(server.url, "SELECT 1 one")).toEqual([{ one: 1 }]);
    expect((await stat(join(dataDir, "pgdata"))).uid).toBe(as.uid);
    parent.child.kill("SIGKILL");
    const gone = async (): Promise<boolean> => !(await isServerOf(server.pid, join(dataDir, "pgdata")));
    expect(await goneWithin(gone, LIMIT_MS)).toBe(true);
    // Root now takes the folder over: Postgres goes on as the user whose data it is.
    const asRoot = await started({ dataDir });
    expect(await query(asRoot.url, "SELECT 1 one")).toEqual([{ one: 1 }]);
  });
});
