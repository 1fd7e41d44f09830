/** The same segment from Python, under Python's own flock: what kvcached's engine and kvctl do. */
import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { changeLimit, readSegment, SEGMENT_BYTES, type SegmentPlace } from "./segment.js";
import { shmFolder } from "../../testing/fake-kvcached-segment.js";

const ENGINE = fileURLToPath(new URL("fixtures/engine.py", import.meta.url));
const GIB = 2 ** 30;
const hasPython = spawnSync("python3", ["-c", "import fcntl, mmap, struct"]).status === 0;
if (!hasPython) process.stderr.write("python3 is not here: the kvcached interoperation tests are skipped\n");

let folder: string;
let place: SegmentPlace;

beforeEach(async () => {
  folder = await shmFolder();
  place = { path: join(folder, "kvcached_py"), lockTimeoutMs: 5_000 };
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const python = async (action: string, ...rest: string[]): Promise<string> =>
  (await promisify(execFile)("python3", [ENGINE, action, place.path, ...rest])).stdout;

describe.skipIf(!hasPython)("a kvcached segment between the agent and Python", () => {
  test("what Python made is read right here, and what was written here is read right there", async () => {
    await python("create", String(7 * GIB));
    expect(await readSegment(place)).toMatchObject({ limitBytes: 7 * GIB, usedBytes: 0, preallocBytes: 0 });
    await changeLimit(place, ({ limitBytes }) => limitBytes - GIB);
    expect(JSON.parse(await python("read"))).toEqual([6 * GIB, 0, 0]);
    await python("limit", String(5 * GIB + 1));
    expect((await readSegment(place)).limitBytes).toBe(5 * GIB + 1);
  });

  test("neither tears nor loses the other's writes while both write as fast as they can", async () => {
    await python("create", String(8 * GIB));
    const engine = spawn("python3", [ENGINE, "serve", place.path, "20000"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let said = "";
    engine.stdout.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    const ended = once(engine, "close");
    await expect.poll(() => said, { timeout: 10_000 }).toContain("serving");
    const limits = [8 * GIB, 0x0123_4567_89ab];
    let writes = 0;
    while (engine.exitCode === null) {
      const limitBytes = limits[writes % 2] ?? 0;
      const before = await changeLimit(place, (reading) => {
        expect(reading.usedBytes).toBe(reading.preallocBytes);
        return limitBytes;
      });
      expect(before.limitBytes).toBe(limitBytes);
      expect((await readSegment(place)).limitBytes).toBe(limitBytes);
      writes += 1;
      // A lock that is free is taken without a turn of the event loop: the engine's end must be heard too.
      await setImmediate();
    }
    await ended;
    expect(writes).toBeGreaterThan(10);
    const totals = JSON.parse(said.slice(said.indexOf("["))) as number[];
    expect(limits).toEqual(expect.arrayContaining(totals));
    expect(totals.length).toBe(2);
    expect(await readSegment(place)).toMatchObject({ usedBytes: 19_999, preallocBytes: 19_999 });
  });

  test("waits for a lock that Python holds, no longer than it is told to, and writes nothing", async () => {
    await python("create", String(GIB));
    const holder = spawn("python3", [ENGINE, "hold", place.path], { stdio: ["pipe", "pipe", "inherit"] });
    await once(holder.stdout, "data");
    const hurried = { ...place, lockTimeoutMs: 50 };
    await expect(changeLimit(hurried, () => 2 * GIB)).rejects.toMatchObject({
      code: "timeout",
      silent: true,
      message: expect.stringContaining("stayed locked for 50 ms") as string,
    });
    const patient = changeLimit(place, () => 2 * GIB);
    const ended = once(holder, "exit");
    holder.stdin.end();
    expect((await patient).limitBytes).toBe(2 * GIB);
    await ended;
    expect(JSON.parse(await python("read"))).toEqual([2 * GIB, 0, 0]);
  });

  test(`is ${SEGMENT_BYTES} bytes, as Python's struct says`, () => {
    const { stdout } = spawnSync("python3", ["-c", "import struct; print(struct.calcsize('=3q'))"], {
      encoding: "utf8",
    });
    expect(Number(stdout)).toBe(SEGMENT_BYTES);
  });
});
