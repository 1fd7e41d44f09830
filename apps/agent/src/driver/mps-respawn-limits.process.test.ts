/** What does not go on is noticed: a worker that only answers, a resident that never gets ready. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, onTestFinished, test } from "vitest";
import { readJsonSync } from "../files/read-json.js";
import { WorkerSites, makeSiteFolder, siteConfig, steady } from "../testing/worker-site.js";
import { DriverError } from "../partition-driver.js";

const sites = new WorkerSites();
afterEach(() => sites.end());

test("a worker that hangs and still answers is replaced, also while a generation waits prepared", async () => {
  const site = await sites.start();
  site.faults({ "decode 0": { mute: true } });
  await site.until(steady(0));
  const { id } = await site.holder("decode");
  await site.prepared(1, 60, 30);
  site.faults({});
  writeFileSync(join(site.folder, "turn-0", "mute"), "");
  // Every look asks it where it is, and it answers.
  await site.until(() => site.turn("decode").worker !== id);
  await expect
    .poll(() => site.holder("decode"), { timeout: 10_000 })
    .toMatchObject({ smPct: 40, generation: 0 });
  expect(site.workers("decode").map((worker) => worker.id)).not.toContain(id);
});

/** The first one neither gets ready nor ends on SIGTERM. */
const RESIDENT = `
const { existsSync, writeFileSync } = require("fs");
const [first, up] = process.argv.slice(1);
if (existsSync(first)) writeFileSync(up, "");
else {
  process.on("SIGTERM", () => 0);
  writeFileSync(first, String(process.pid));
}
setInterval(() => 0, 1e6);`;

test("a resident that never gets ready is told as a condition, ended and started again", async () => {
  const folder = await makeSiteFolder();
  const [first, up] = [join(folder, "first"), join(folder, "up")];
  const resident = {
    ...siteConfig(folder).resident,
    command: [process.execPath, "-e", RESIDENT, first, up],
    readyPath: up,
    readyMs: 1_000,
  };
  const site = sites.open(folder, [0], { resident });
  const record = join(site.workersDir, "chat~resident-0.json");
  const pid = (): number => (readJsonSync(record) as { readonly pid: number }).pid;
  onTestFinished(() => {
    try {
      process.kill(pid(), "SIGKILL");
    } catch {
      // It has ended.
    }
  });
  const conditions = (): Promise<readonly string[]> =>
    site.driver.observe().then(
      (state) => state.conditions ?? [],
      (error: unknown) => (error instanceof DriverError ? error.conditions : []),
    );
  await expect.poll(conditions, { timeout: 10_000 }).toContain("ResidentNotReady");
  const state = await site.until(steady(0));
  expect(state.conditions).toEqual([]);
  expect(readJsonSync(first)).not.toBe(pid());
  expect(() => process.kill(Number(readJsonSync(first)), 0)).toThrow();
});
