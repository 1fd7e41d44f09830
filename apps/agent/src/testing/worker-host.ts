/** A process that owns a WorkerSite, begins a switch to 50/30, says so and waits to be killed: worker-host.js <folder> */
import { WorkerSite } from "./worker-site.js";

const [, , folder] = process.argv;
if (folder === undefined) throw new Error("usage: worker-host.js <folder>");
const site = new WorkerSite(folder);
await site.until(({ generation, phase }) => generation === 0 && phase === "steady");
await site.driver.commit(await site.prepared(1, 50, 30));
process.stdout.write("committed\n");
