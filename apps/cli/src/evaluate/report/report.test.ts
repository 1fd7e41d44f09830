import { describe, expect, it } from "vitest";
import { Results, type Row } from "@fulcrum/evaluation/results.js";
import { runJob } from "@fulcrum/evaluation/run-job.js";
import { BASE_VARIANT, targetLines } from "@fulcrum/evaluation/targets.js";
import { World } from "@fulcrum/evaluation/world.js";
import { figures } from "../figures/paper-figures.js";
import { loadWorld } from "../inputs.js";
import { allRuns } from "../plan.js";
import { reportJson } from "./report-json.js";
import { reportMarkdown } from "./report.js";

const world = new World(loadWorld({ profile: null, dataDir: null }));
const planned = allRuns({ intervalMs: 5_000, prepareMs: 2_000 }, 1, (scenario) => world.has(scenario));

/** One place and a few variants of some sections: documents are the quickest to simulate. */
const VARIANTS = ["", BASE_VARIANT, "no profile", "overlap: by cap", "decides every 15 s", "told no profile"];
const few = planned.filter(({ section, variant, job, contender }) => {
  const { scenario, fraction } = job.setting;
  const place = section === "grid" ? 0.85 : 0.75;
  const shown = VARIANTS.includes(variant) && ["100/100", "feedback", "search"].includes(contender);
  return job.type === "lane" && scenario === "documents-tight" && fraction === place && shown;
});
const rows = few.map(({ section, variant, contender, job }): Row => {
  return { section, variant, contender, setting: job.setting, result: runJob(world, job) };
});
const results = new Results(rows);

function reportOf(of: Results): string {
  return reportMarkdown({
    results: of,
    world,
    targets: targetLines(of, null),
    figures: figures(of, world),
    tried: null,
    command: "fulcrum evaluate",
  });
}

describe("the report", () => {
  const text = reportOf(results);

  it("has a line for every target and says what was not run", () => {
    for (const { measure, verdict } of targetLines(results, null)) {
      expect(text).toContain(`| ${measure} `);
      expect(["met", "missed", "not run"]).toContain(verdict);
    }
    expect(text).toContain("Not run.");
  });

  it("shows no number that is none, and no leftover of the code", () => {
    expect(text).not.toMatch(/NaN|undefined|Infinity|\[object/);
  });

  it("has no row of a table with another number of cells than its head", () => {
    const tables = text.split("\n\n").filter((block) => block.startsWith("| "));
    expect(tables.length).toBeGreaterThan(4);
    for (const table of tables) {
      const widths = table
        .trim()
        .split("\n")
        .map((line) => line.split(/(?<!\\)\|/).length);
      expect(new Set(widths), table).toHaveProperty("size", 1);
    }
  });

  it("tells of a run that was not made nothing at all: an empty report claims nothing", () => {
    const empty = reportOf(new Results([]));
    expect(empty).toContain("0 met, 0 missed");
    expect(empty).not.toMatch(/search costs|NaN|undefined/i);
  });

  it("is also there as JSON, with a cell for every workload, rate and contender", () => {
    const parsed = JSON.parse(reportJson(results, world, targetLines(results, null))) as {
      cells: { contender: string; attained: number[] }[];
    };
    expect(parsed.cells.length).toBeGreaterThan(10);
    const shares = parsed.cells.flatMap(({ attained }) => attained);
    expect(shares).toHaveLength(3 * parsed.cells.length);
    expect(shares.every((share) => share >= 0 && share <= 1)).toBe(true);
  });
});

describe("the plan of everything", () => {
  it("runs no workload that there is no data for, and no seed beyond those asked for", () => {
    const names = new Set(planned.map(({ job }) => job.setting.scenario));
    expect(names.has("mooncake")).toBe(false);
    expect(names.has("changing-kinds")).toBe(true);
    expect(planned.every(({ job }) => job.setting.seed === 1)).toBe(true);
  });

  it("measures every section of the report", () => {
    const sections = new Set(planned.map(({ section }) => section));
    expect([...sections].sort()).toEqual(["ablation", "grid", "highest", "long", "sensitivity", "shares"]);
  });

  it("names no run twice: the later would hide the earlier", () => {
    const keys = planned.map(({ section, variant, contender, job }) => {
      const { scenario, fraction, seed } = job.setting;
      return [section, variant, contender, job.type, scenario, fraction, seed].join("|");
    });
    expect(new Set(keys).size).toBe(keys.length);
  });
});
