import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { expect, test } from "vitest";

const LOGGER = fileURLToPath(new URL("../../apps/controller/dist/obs/logger.js", import.meta.url));

/** Logs a few lines and exits at once when something comes in, as a controller does whose parent was killed. */
const PROGRAM = `
  const { createLogger } = await import(${JSON.stringify(LOGGER)});
  const logger = createLogger("info");
  process.stdin.once("data", () => {
    for (let i = 0; i < 5; i += 1) logger.warn({ event: "stopping", i });
    process.exit(0);
  });
  process.stdout.write("ready\\n");
`;

test("a controller ends also when nobody reads its log any more", async () => {
  const child = spawn(process.execPath, ["--input-type=module", "-e", PROGRAM], { stdio: "pipe" });
  try {
    const exited = once(child, "exit", { signal: AbortSignal.timeout(10_000) });
    await once(child.stdout, "data");
    child.stderr.destroy();
    child.stdin.on("error", () => undefined);
    child.stdin.write("stop\n");
    expect(await exited).toEqual([0, null]);
  } finally {
    child.kill("SIGKILL");
  }
});
