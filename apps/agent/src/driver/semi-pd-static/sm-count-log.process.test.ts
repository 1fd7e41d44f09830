import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SmCountLog } from "./sm-count-log.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-sm-log-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("a worker that sees more SMs than are configured is a bad answer, and not the whole GPU", async () => {
  const path = join(folder, "engine.log");
  const line = (role: string, sms: number): string =>
    `[2026-11-23 10:00:00 ${role} TP0] Available SMs: ${sms}\n`;
  await writeFile(path, line("PREFILL", 54) + line("DECODE", 108));
  expect(await new SmCountLog(path, 108).read()).toEqual({ prefillSmPct: 50, decodeSmPct: 100 });
  await writeFile(path, line("PREFILL", 54) + line("DECODE", 132));
  await expect(new SmCountLog(path, 108).read()).rejects.toMatchObject({
    code: "bad_answer",
    message: expect.stringContaining("a worker says 132 SMs, driver.smCount is 108") as string,
  });
});
