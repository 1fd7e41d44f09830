import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { WorkerSites, makeSiteFolder, siteConfig, steady } from "../testing/worker-site.js";
import { rocmCuMaskDriver } from "./respawn-config.js";

const sites = new WorkerSites();
afterEach(() => sites.end());

test("rocm-cu-mask: each worker is started under its mask, and what it sees is read back", async () => {
  const folder = await makeSiteFolder();
  const { command, env, resident, deadlines } = siteConfig(folder);
  const trace = join(folder, "trace");
  const config = rocmCuMaskDriver.parse({
    type: "rocm-cu-mask",
    command,
    env: { ...env, FAKE_TRACE: trace },
    resident,
    deadlines,
    smCount: 104,
    gpuIndex: 1,
    prefillSmPct: 60,
    decodeSmPct: 40,
  });
  const site = sites.open(folder, [0], config);
  const state = await site.until(steady(0));
  // 62 and 41 of 104 CUs, from both ends.
  expect(state.delivered.split).toEqual({ prefillSmPct: 59.62, decodeSmPct: 39.42 });
  const plan = await site.prepared(1, 60, 30);
  await site.driver.commit(plan);
  await site.until(steady(1));
  expect(await site.driver.verify(plan)).toMatchObject({ kind: "delivered" });
  expect(
    readFileSync(trace, "utf8")
      .match(/\d:\d+-\d+/g)
      ?.toSorted(),
  ).toEqual(["1:0-61", "1:63-103", "1:73-103"]);
  expect((await site.driver.probe()).driver).toBe("rocm-cu-mask");
});

test("a worker that sees another number of CUs than its mask has is not used", async () => {
  const folder = await makeSiteFolder();
  const { command, env, resident, deadlines } = siteConfig(folder);
  const base = { type: "rocm-cu-mask", command, env, resident, deadlines, smCount: 104 } as const;
  const site = sites.open(
    folder,
    [0],
    rocmCuMaskDriver.parse({ ...base, prefillSmPct: 60, decodeSmPct: 40 }),
  );
  await site.until(steady(0));
  site.faults({ "decode 1": { smCount: 104 } });
  await site.driver.prepare(await site.plan(1, 60, 30));
  const { failure } = await site.until((now) => Boolean(now.failure));
  expect(failure).toMatchObject({ code: "uncapped" });
  expect(failure?.message).toContain("HSA_CU_MASK");
});
