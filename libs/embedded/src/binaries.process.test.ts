import { execFile } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { expect, onTestFinished, test } from "vitest";

import { platformPackageFolder, prepareBinaries } from "./binaries.js";
import { temporaryDataDir } from "./default-data-dir.js";
import { chooseRunAs } from "./run-as.js";

const run = promisify(execFile);

/** The package as `npm ci --ignore-scripts` leaves it: without the library links. */
async function packageWithoutLinks(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fulcrum-package-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await cp(platformPackageFolder(process.platform, process.arch), folder, {
    recursive: true,
    filter: (source) => !/\.so(\.\d+)?$/.test(source) || !/lib(icu|ecpg|pgtypes|pq)/.test(source),
  });
  return folder;
}

test("the programs run from a package whose install scripts never ran", async () => {
  const packageFolder = await packageWithoutLinks();
  await chmod(packageFolder, 0o755);
  const copyParent = await temporaryDataDir();
  onTestFinished(() => rm(copyParent, { recursive: true }));
  const runAs = await chooseRunAs(copyParent);
  const binaries = await prepareBinaries({ runAs, copyParent, log: () => undefined, packageFolder });
  expect(binaries.postgres).toBe(join(packageFolder, "native", "bin", "postgres"));
  const { stdout } = await run(binaries.postgres, ["--version"], { cwd: "/", ...runAs.switchTo });
  expect(stdout).toMatch(new RegExp(`^postgres \\(PostgreSQL\\) ${binaries.major}\\.`));
  expect(await readdir(copyParent)).toEqual([]);
});

test("below a folder that Postgres' user cannot enter, they are copied once, whole, past a half-made copy", async ({
  skip,
}) => {
  skip(process.getuid?.() !== 0, "needs root: others run Postgres as themselves");
  const packageFolder = await packageWithoutLinks();
  await chmod(packageFolder, 0o700);
  const copyParent = await temporaryDataDir();
  onTestFinished(() => rm(copyParent, { recursive: true }));
  const runAs = await chooseRunAs(join(copyParent, "pgdata"));
  await mkdir(join(copyParent, "pgsql-0.0.0.partial"));
  await writeFile(join(copyParent, "pgsql-0.0.0.partial", "half"), "");

  const lines: string[] = [];
  const options = { runAs, copyParent, log: (line: string) => lines.push(line), packageFolder };
  const binaries = await prepareBinaries(options);
  expect(await readdir(copyParent)).toEqual([`pgsql-${binaries.version}`]);
  const { stdout } = await run(binaries.initdb, ["--version"], { cwd: "/", ...runAs.switchTo });
  expect(stdout).toMatch(new RegExp(`^initdb \\(PostgreSQL\\) ${binaries.major}\\.`));

  expect(await prepareBinaries(options)).toEqual(binaries);
  expect(lines).toEqual([expect.stringContaining(`${runAs.name} cannot enter ${packageFolder}`)]);
});
