/** Builds the fake libnvidia-ml.so.1, once per process; a machine without gcc cannot. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const SOURCE = fileURLToPath(new URL("../../../src/testing/vendor/nvml-fake.c", import.meta.url));

export const hasGcc = spawnSync("gcc", ["--version"]).status === 0;

/** Compiles the library into a new folder, which is named so that LD_LIBRARY_PATH can find it. */
export function buildFakeNvml(): { readonly folder: string; readonly library: string } {
  const folder = mkdtempSync(join(tmpdir(), "fulcrum-nvml-"));
  const library = join(folder, "libnvidia-ml.so.1");
  const built = spawnSync("gcc", ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, SOURCE], {
    encoding: "utf8",
  });
  if (built.status !== 0) throw new Error(`gcc could not build the fake NVML: ${built.stderr}`);
  return { folder, library };
}

/** Tells the fake what to do; null: nothing special. A change is atomic, and a new file each time. */
export function tellFakeNvml(file: string, words: string | null): void {
  if (words === null) return rmSync(file, { force: true });
  writeFileSync(`${file}.new`, `${words}\n`);
  renameSync(`${file}.new`, file);
}
