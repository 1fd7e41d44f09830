import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sampleOf } from "@fulcrum/evaluation/lengths.js";
import { SCENARIOS, scenarioOf, type Kind } from "@fulcrum/evaluation/scenarios.js";
import { World } from "@fulcrum/evaluation/world.js";
import { afterAll, describe, expect, it } from "vitest";
import { dataDirOf, loadWorld } from "./inputs.js";

const folder = mkdtempSync(join(tmpdir(), "fulcrum-evaluate-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bundled = loadWorld({ profile: null, dataDir: null });

function moments(kind: Kind): { prompt: number; output: number; p50: number; p90: number } {
  const source = bundled.lengths[kind]?.source;
  if (source === undefined) throw new Error(`no ${kind}`);
  const rows = sampleOf(source);
  const mean = (of: (row: (typeof rows)[number]) => number) =>
    rows.reduce((sum, row) => sum + of(row), 0) / rows.length;
  const prompts = rows.map((row) => row.promptTokens).sort((a, b) => a - b);
  const at = (q: number) => prompts[Math.floor(q * prompts.length)] ?? 0;
  return {
    prompt: mean((row) => row.promptTokens),
    output: mean((row) => row.outputTokens),
    p50: at(0.5),
    p90: at(0.9),
  };
}

describe("the bundled lengths", () => {
  // What was counted in the sets that the tables were made after; a tenth off is what rounding may cost.
  it.each([
    { kind: "chat", prompt: 252, output: 330, p50: 37, p90: 768 },
    { kind: "documents", prompt: 3030, output: 92, p50: 3200, p90: 3200 },
    { kind: "conversation", prompt: 1243, output: 217, p50: 1033, p90: 4076 },
    { kind: "long-answers", prompt: 24.5, output: 495, p50: 21, p90: 46 },
  ] as const)("are like what they were made after: $kind", ({ kind, prompt, output, p50, p90 }) => {
    const found = moments(kind);
    expect(Math.abs(found.prompt / prompt - 1)).toBeLessThan(0.1);
    expect(Math.abs(found.output / output - 1)).toBeLessThan(0.1);
    expect(Math.abs(found.p50 / p50 - 1)).toBeLessThan(0.15);
    expect(Math.abs(found.p90 / p90 - 1)).toBeLessThan(0.15);
  });

  it("serve every workload but those that vary what is bundled", () => {
    const world = new World(bundled);
    const missing = SCENARIOS.filter((scenario) => !world.has(scenario)).map((scenario) => scenario.name);
    expect(missing).toEqual(["documents-2040", "documents-4000", "mooncake"]);
  });
});

describe("the folder of measured sets", () => {
  it("is what was asked for before what the environment names; none means none", () => {
    writeFileSync(join(folder, "empty"), "");
    expect(dataDirOf("none", { FULCRUM_DATA_DIR: folder })).toBeNull();
    expect(() => dataDirOf(folder, {})).toThrow("none of the measured sets");
    expect(() => dataDirOf(undefined, { FULCRUM_DATA_DIR: join(folder, "missing") })).toThrow("missing");
  });

  it("names a profile that cannot be read", () => {
    const path = join(folder, "profile.json");
    expect(() => loadWorld({ profile: path, dataDir: null })).toThrow(path);
    writeFileSync(path, "{}");
    expect(() => loadWorld({ profile: path, dataDir: null })).toThrow("contention");
  });
});

const measured =
  process.env["FULCRUM_DATA_DIR"] ?? fileURLToPath(new URL("../../../../../shared/data", import.meta.url));

describe.skipIf(!existsSync(join(measured, "lengths")))("measured sets, where they are at hand", () => {
  const world = new World(loadWorld({ profile: null, dataDir: measured }));

  it("say what was dropped and cut", () => {
    expect(world.about(scenarioOf("chat-tight"))).toContain("56,615 rows");
    expect(world.about(scenarioOf("documents-tight"))).toContain("3,960 cut");
    expect(world.about(scenarioOf("conversation"))).toMatch(/10,107 rows.*1 too long.*replayed/);
  });

  it("give the rates that were published for this GPU and model", () => {
    expect(Math.abs(world.maxPerS("chat") / 16.1 - 1)).toBeLessThan(0.1);
    expect(Math.abs(world.maxPerS("documents") / 3.7 - 1)).toBeLessThan(0.1);
    expect(Math.abs(world.maxPerS("conversation") / 7.1 - 1)).toBeLessThan(0.1);
  });

  it("replay the trace at the rate that was asked for", () => {
    const scenario = scenarioOf("conversation");
    const requests = world.requests(scenario, 0.7, 2);
    expect(requests.length / (scenario.durationMs / 1000)).toBeCloseTo(world.meanPerS(scenario, 0.7), 1);
  });
});
