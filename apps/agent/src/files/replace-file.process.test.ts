import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { replaceFile } from "./replace-file.js";
import { StateFile } from "../driver/staged/state-file.js";

let folder: string;
let mounted: boolean;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-replace-"));
  mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=16k", "fulcrum-test", folder]).status === 0;
});
afterEach(async () => {
  if (mounted) spawnSync("umount", ["-l", folder]);
  await rm(folder, { recursive: true, force: true });
});

describe("replacing a file", () => {
  test("leaves the new text, with its mode, and nothing beside it", async () => {
    const path = join(folder, "deep", "a.env");
    await replaceFile(path, "one", 0o644);
    await replaceFile(path, "two", 0o644);
    expect([await readFile(path, "utf8"), (await stat(path)).mode & 0o777]).toEqual(["two", 0o644]);
    expect(await readdir(join(folder, "deep"))).toEqual(["a.env"]);
  });

  test("on a full disk says so and keeps the old text", async ({ skip }) => {
    if (!mounted) return skip("a tmpfs cannot be mounted here");
    const path = join(folder, "a.env");
    await replaceFile(path, "old");
    await writeFile(join(folder, "full"), "x".repeat(16_384)).catch(() => undefined);
    await expect(replaceFile(path, "y".repeat(8_192))).rejects.toMatchObject({
      code: "disk_full",
      retryable: true,
    });
    expect(await readFile(path, "utf8")).toBe("old");
    expect((await readdir(folder)).toSorted()).toEqual(["a.env", "full"]);
  });
});

describe("a driver's state file", () => {
  const shape = z.strictObject({ count: z.number(), word: z.string() });
  const fresh = { count: 0, word: "" };

  test("keeps all changes that are made at once", async () => {
    const file = new StateFile(join(folder, "s.json"), shape, fresh);
    await Promise.all([file.save({ count: 1 }), file.save({ word: "x" })]);
    expect(await new StateFile(file.path, shape, fresh).load()).toEqual({ count: 1, word: "x" });
  });

  test("that makes no sense is set aside, not lost", async () => {
    const path = join(folder, "s.json");
    await writeFile(path, '{"count":"many"}');
    expect(await new StateFile(path, shape, fresh).load()).toEqual(fresh);
    expect(await readFile(`${path}.corrupt`, "utf8")).toBe('{"count":"many"}');
  });

  test("that cannot be written is unchanged, or kept in memory where what it says is already so", async () => {
    const file = new StateFile("/proc/fulcrum-state.json", shape, fresh);
    await expect(file.save({ count: 1 })).rejects.toMatchObject({ code: "file_unwritable" });
    expect(await file.load()).toEqual(fresh);
    expect(await file.keep({ count: 2 })).toEqual({ count: 2, word: "" });
    expect((await file.load()).count).toBe(2);
  });
});
