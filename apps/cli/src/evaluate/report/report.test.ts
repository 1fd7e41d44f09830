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

describe("the bounds in the report", () => {
  const times = { plant: {}, intervalMs: 5_000, prepareMs: 2_000 };
  const setting = { ...times, scenario: "documents-tight", fraction: 0.85, seed: 1 };
  const bounds = runJob(world, { type: "bounds", setting });
  const highest = (contender: string, seed: number, fraction: number): Row => ({
    section: "highest",
    variant: "",
    contender,
    setting: { ...setting, fraction: 0, seed },
    result: { type: "highest", fraction },
  });
  const open = [0.5, 0.6, 0.8].map((fraction, i) => highest("100/100", i + 1, fraction));
  const bounded = new Results([
    ...rows,
    { section: "grid", variant: "", contender: "", setting, result: bounds },
    ...open,
    highest("oracle", 3, 1),
    highest("oracle", 2, 0.9),
  ]);
  const text = reportOf(bounded);
  const cellsOf = (line: RegExp) => (line.exec(text)?.[0] ?? "").split("|").map((cell) => cell.trim());

  it("have the split that is known at the first decision between the best fixed one and the oracle", () => {
    const head = cellsOf(/^\| workload .* search \/ oracle \|$/m);
    const cells = cellsOf(/^\| documents-tight .*\d\.\d{3} \|$/m);
    const of = (title: string) => cells[head.indexOf(title)];
    if (bounds.type !== "bounds") throw new Error("wrong kind of result");
    const { best, firstDecision, oracle } = bounds.bounds;
    const percent = (share = Number.NaN) => (100 * share).toFixed(1);
    expect(of("best fixed")).toBe(percent(best.bothOk));
    expect(of("known at first decision")).toBe(percent(firstDecision?.bothOk));
    expect(of("oracle")).toBe(percent(oracle.bothOk));
    expect(text).toContain("_Known at first decision_");
    expect(reportJson(bounded, world, [])).toContain('"contender":"known at first decision"');
  });

  it("have the oracle's highest rate over (100,100) by seed, though it ran fewer", () => {
    // 1 / 0.8 and 0.9 / 0.6; paired in the order of the rows it would be 2 and 1.5.
    expect(cellsOf(/^\| oracle .* 1\.\d{3} \|$/m).at(-2)).toBe("1.375");
    expect(text).toContain("The oracle ran on seeds 3, 2.");
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

  it("bisects the oracle's rate on three seeds of each workload that a highest rate is asked of", () => {
    const all = allRuns({ intervalMs: 5_000, prepareMs: 2_000 }, 5, (scenario) => world.has(scenario));
    const runs = all.filter(({ job }) => job.type === "highest-bound");
    const places = runs.map(({ job }) => `${job.setting.scenario} ${job.setting.seed}`);
    const wanted = ["chat-tight", "documents-tight"].flatMap((name) => [1, 2, 3].map((n) => `${name} ${n}`));
    expect(places).toEqual(wanted);
    expect(runs.every(({ section, contender }) => section === "highest" && contender === "oracle")).toBe(
      true,
    );
  });

  it("names no run twice: the later would hide the earlier", () => {
    const keys = planned.map(({ section, variant, contender, job }) => {
      const { scenario, fraction, seed } = job.setting;
      return [section, variant, contender, job.type, scenario, fraction, seed].join("|");
    });
    expect(new Set(keys).size).toBe(keys.length);
  });
});
