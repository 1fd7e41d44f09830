import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { releaseFileLock, tryFileLock, withFileLock } from "./file-lock.js";
import { poolPath } from "./testing/pool-file.js";

const built = fileURLToPath(new URL("../dist/file-lock.js", import.meta.url));

function open(path: string): number {
  const fd = openSync(path, "r+");
  onTestFinished(() => closeSync(fd));
  return fd;
}

test("two opens exclude each other; a wait ends with an error, on the event loop", async () => {
  const path = poolPath();
  writeFileSync(path, "x");
  const [a, b] = [open(path), open(path)];
  expect(tryFileLock(a)).toBe(true);
  expect(tryFileLock(b)).toBe(false);
  let ticks = 0;
  const ticking = setInterval(() => {
    ticks += 1;
  }, 1);
  await expect(withFileLock(b, 60, () => "never")).rejects.toMatchObject({
    code: "timeout",
    message: "another process has held the file's lock for 60 ms",
  });
  clearInterval(ticking);
  expect(ticks).toBeGreaterThan(2);
  const waiting = withFileLock(b, 10_000, () => "then");
  releaseFileLock(a);
  await expect(waiting).resolves.toBe("then");
  // The lock is free again after the action, also after one that throws.
  await expect(withFileLock(b, 0, () => JSON.parse("{"))).rejects.toThrow(SyntaxError);
  expect(tryFileLock(a)).toBe(true);
});

test("a holder that is killed frees the lock", async () => {
  const path = poolPath();
  writeFileSync(path, "x");
  const script = `import { openSync } from "node:fs"; import { tryFileLock } from ${JSON.stringify(built)};
    tryFileLock(openSync(${JSON.stringify(path)}, "r+")); console.log("held"); setInterval(() => {}, 1e6);`;
  const holder = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  const fd = open(path);
  expect(tryFileLock(fd)).toBe(false);
  holder.kill("SIGKILL");
  await expect(withFileLock(fd, 10_000, () => "mine")).resolves.toBe("mine");
});

test("a closed descriptor is an error of its own", async () => {
  await expect(withFileLock(1_000_000, 10, () => 1)).rejects.toMatchObject({ code: "io", message: /EBADF/ });
});
