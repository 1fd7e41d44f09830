/** Rules of the house that the linter cannot hold, and documents against code. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const root = new URL("../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), "utf8");
// In a folder that is no checkout (a download) there is no list of files to go by.
const files = listFiles();
const sources = files.filter(
  (file) => /^(apps|libs|migrations)\/.*\.tsx?$/.test(file) && !file.endsWith(".test.ts"),
);

function listFiles(): readonly string[] {
  try {
    return execFileSync("git", ["ls-files"], { cwd: root, encoding: "utf8" }).trim().split("\n");
  } catch {
    return [];
  }
}

test.skipIf(files.length === 0)("no source file grows past 400 lines", () => {
  const long = sources.filter((file) => read(file).split("\n").length > 400);
  expect(long).toEqual([]);
});

test.skipIf(files.length === 0)("nothing is a barrel, uses forwardRef, or is left to do", () => {
  const odd = sources.filter(
    (file) => file.endsWith("/index.ts") || /forwardRef\(|\bTODO\b|\bFIXME\b/.test(read(file)),
  );
  expect(odd).toEqual([]);
});

test.skipIf(files.length === 0)("the controller reads its environment in one place", () => {
  const readers = sources.filter(
    (file) => file.startsWith("apps/controller/") && /process\.env/.test(read(file)),
  );
  expect(readers).toEqual(["apps/controller/src/main.ts"]);
});

test("every variable of the controller is in docs/operations.md, and every variable there exists", () => {
  const inCode = new Set(
    read("apps/controller/src/config.ts")
      .match(/^ {2}([A-Z][A-Z_]+)(?=:)/gm)
      ?.map((name) => name.trim()),
  );
  const ofAgent: readonly string[] = read("apps/agent/src/agent.ts").match(/FULCRUM_[A-Z_]+/g) ?? [];
  const documented = read("docs/operations.md");
  const steps = ["OFFER", "PREPARE", "SWITCH", "VERIFY"].map((step) => `FULCRUM_${step}_TIMEOUT_MS`);
  const missing = [...inCode].filter((name) => !documented.includes(name) && !steps.includes(name));
  expect(inCode.size).toBeGreaterThan(10);
  expect(missing).toEqual([]);
  const named = documented.match(/`(FULCRUM_[A-Z_]+|[A-Z]+_URL|LOG_LEVEL)`/g) ?? [];
  expect(
    named.map((name) => name.slice(1, -1)).filter((name) => !inCode.has(name) && !ofAgent.includes(name)),
  ).toEqual([]);
});

test("every command that the README shows is one of package.json's scripts or a file's", () => {
  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  const shown = [...read("README.md").matchAll(/npm run ([a-z:]+)|npm (test)/g)].map(
    (match) => match[1] ?? match[2]!,
  );
  expect(shown.length).toBeGreaterThan(3);
  expect(shown.filter((name) => !(name in scripts))).toEqual([]);
});

test("every relative link in the documents leads to a file", () => {
  for (const document of ["README.md", "ARCHITECTURE.md", "docs/operations.md"]) {
    const folder = new URL(document, root);
    for (const [, target] of read(document).matchAll(/\]\((?!https?:)([^)#]+)\)/g)) {
      expect(() => readFileSync(new URL(target!, folder)), `${document}: ${target}`).not.toThrow(/ENOENT/);
    }
  }
});
