/**
 * A process that owns a WorkerSite, brings it to a step of a switch from 60/40 to 50/30, says so and waits to be killed:
 * worker-host.js <folder> starting|preparing|ready|armed|committed|half|switched
 */
import { WorkerSite, steady } from "./worker-site.js";

const [, , folder, step] = process.argv;
if (folder === undefined || step === undefined) throw new Error("usage: worker-host.js <folder> <step>");
const site = new WorkerSite(folder);

async function reach(): Promise<void> {
  await site.until(({ generation }) => generation === 0);
  if (step === "preparing") {
    await site.driver.prepare(await site.plan(1, 50, 30));
    return;
  }
  const plan = await site.prepared(1, 50, 30);
  if (step === "ready") return;
  const { iterations } = await site.driver.observe();
  if (!iterations) throw new Error("the workers count");
  const { prefill, decode } = iterations;
  if (step === "armed") {
    await site.driver.commit(plan, { prefill: prefill + 200, decode: decode + 200 });
    while (site.told("hand_over") < 2) await site.driver.observe();
  } else if (step === "half") {
    await site.driver.commit(plan, { prefill: prefill + 50, decode: decode + 500 });
    while (site.turn("prefill").turn < 2) await site.driver.observe();
  } else {
    await site.driver.commit(plan);
    if (step === "switched") await site.until(steady(1));
  }
}

if (step === "starting") void site.driver.observe().catch(() => undefined);
else await reach();
process.stdout.write("reached\n");
setInterval(() => undefined, 60_000);
