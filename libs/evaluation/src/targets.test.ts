import { describe, expect, it } from "vitest";
import { Results, type Row, type Section } from "./results.js";
import type { JobResult, Setting } from "./run-job.js";
import type { LaneSummary, SwitchNote } from "./summary.js";
import { BASE_VARIANT, targetLines } from "./targets.js";

function lane(bothOk: number, over: Partial<LaneSummary> = {}): LaneSummary {
  const bins = Array.from({ length: 90 }, () => 100);
  return {
    requests: 1000,
    bothOk,
    ttftOk: bothOk,
    tpotOk: 1,
    goodputPerS: bothOk * 10,
    ttftMs: { p50: 100, p90: 200, p99: 300 },
    tpotMs: { p50: 20, p90: 30, p99: 40 },
    preemptions: 0,
    switches: [],
    bins: { requests: bins, ok: bins.map((count) => count * bothOk) },
    ...over,
  };
}

function row(section: Section, contender: string, result: JobResult, over: Partial<Setting> = {}): Row {
  const setting: Setting = {
    scenario: "chat-tight",
    fraction: 0.9,
    seed: 1,
    plant: {},
    intervalMs: 5_000,
    prepareMs: 2_000,
    ...over,
  };
  return { section, variant: "", contender, setting, result };
}

const ran = (contender: string, share: number, over: Partial<Setting> = {}) =>
  row("grid", contender, { type: "lane", lane: lane(share) }, over);

function bounds(
  best: number,
  oracle: number,
  over: Partial<Setting> = {},
  firstDecision: number | null = null,
): Row {
  const split = { prefillSmPct: 90, decodeSmPct: 100 };
  const result: JobResult = {
    type: "bounds",
    bounds: {
      best: { ...lane(best), split },
      firstDecision: firstDecision === null ? null : lane(firstDecision),
      oracle: lane(oracle),
    },
  };
  return row("grid", "", result, over);
}

const highest = (contender: string, scenario: string, fraction: number, seed: number) =>
  row("highest", contender, { type: "highest", fraction }, { scenario, seed, fraction: 0 });

function verdictOf(rows: readonly Row[], measure: RegExp): { verdict: string; measured: string } {
  const found = targetLines(new Results(rows), null).find((line) => measure.test(line.measure));
  if (found === undefined) throw new Error(`no line ${measure.source}`);
  return found;
}

describe("the table of targets", () => {
  it("says of everything that was not run that it was not run", () => {
    const lines = targetLines(new Results([]), null);
    expect(lines.length).toBeGreaterThanOrEqual(13);
    expect(new Set(lines.map((line) => line.verdict))).toEqual(new Set(["not run"]));
  });

  it.each([
    { search: [0.895, 0.99], verdict: "met" },
    { search: [0.894, 0.99], verdict: "missed" },
  ])("holds do-no-harm to half a point in every run: $search", ({ search, verdict }) => {
    const rows = search.flatMap((share, i) => [
      ran("100/100", 0.9, { seed: i + 1 }),
      ran("search", share, { seed: i + 1 }),
    ]);
    const line = verdictOf(rows, /do no harm/);
    expect(line.verdict).toBe(verdict);
    expect(line.measured).toContain("chat-tight at 0.9, seed 1");
  });

  it("compares with the oracle over the rates of a workload, and names those that stay behind", () => {
    const rows = [0.7, 0.9].flatMap((fraction) => [
      ran("search", 0.95, { fraction }),
      bounds(0.95, 0.96, { fraction }),
      ran("search", 0.8, { fraction, scenario: "conversation" }),
      bounds(0.95, 0.96, { fraction, scenario: "conversation" }),
    ]);
    expect(verdictOf(rows.slice(0, 2), /search \/ oracle, every/)).toMatchObject({ verdict: "met" });
    const line = verdictOf(rows, /search \/ oracle, every/);
    expect(line).toMatchObject({ verdict: "missed" });
    expect(line.measured).toContain("conversation 0.833");
  });

  it("tells of a workload that is behind how near a split known from the first decision comes", () => {
    const rows = [0.7, 0.9].flatMap((fraction) => [
      ran("search", 0.95, { fraction }),
      bounds(0.95, 0.96, { fraction }, 0.5),
      ran("search", 0.8, { fraction, scenario: "conversation" }),
      bounds(0.95, 0.96, { fraction, scenario: "conversation" }, fraction),
      ran("search", 0.8, { fraction, scenario: "documents-tight" }),
      bounds(0.95, 0.96, { fraction, scenario: "documents-tight" }),
    ]);
    const { measured } = verdictOf(rows, /search \/ oracle, every/);
    // The mean of 0.7 and 0.9 over 0.96; nothing for the one that is not behind, or that has no such bound.
    expect(measured).toBe(
      "1 of 3 workloads; behind: conversation 0.833 (known from the first decision: 0.833), documents-tight 0.833",
    );
  });

  it("sets the oracle's highest rate beside search's, each seed against its own (100,100)", () => {
    const open = [0.8, 1, 1.25];
    const rows = [
      ...open.map((fraction, i) => highest("100/100", "chat-tight", fraction, i + 1)),
      ...open.map((fraction, i) => highest("search", "chat-tight", fraction, i + 1)),
      // Runs come in any order, and the oracle's are fewer.
      highest("oracle", "chat-tight", 1.5, 3),
      highest("oracle", "chat-tight", 1.2, 2),
    ];
    expect(verdictOf(rows, /search \/ 100\/100: chat-tight/)).toMatchObject({
      verdict: "missed",
      measured: "1.000 (1.000 to 1.000); the oracle 1.200 (2 seeds)",
    });
    const without = verdictOf(rows.slice(0, 6), /search \/ 100\/100: chat-tight/);
    expect(without.measured).toBe("1.000 (1.000 to 1.000)");
  });

  it("takes the median over seeds of the ratio of highest rates", () => {
    const rows = [1, 2, 3].flatMap((seed) => [
      highest("search", "chat-tight", [1, 1.05, 2][seed - 1] ?? 0, seed),
      highest("100/100", "chat-tight", 1, seed),
    ]);
    const line = verdictOf(rows, /search \/ 100\/100: chat-tight/);
    expect(line).toMatchObject({ verdict: "met" });
    expect(line.measured).toContain("1.050");
    expect(verdictOf(rows, /search \/ feedback: chat-tight/).verdict).toBe("not run");
  });

  it("asks for the best fixed split only where the oracle keeps the promise", () => {
    const saturated = [ran("search", 0.5, { fraction: 1.05 }), bounds(0.8, 0.85, { fraction: 1.05 })];
    const served = [ran("search", 0.95), bounds(0.955, 0.96)];
    expect(verdictOf([...saturated, ...served], /best fixed split, steady/).verdict).toBe("met");
    const behind = [ran("search", 0.94), bounds(0.955, 0.96)];
    expect(verdictOf([...saturated, ...behind], /best fixed split, steady/).verdict).toBe("missed");
  });

  it("judges a changing load by attainment, gain and recovery", () => {
    const at = { scenario: "changing-kinds", fraction: 1 };
    const ok = Array.from({ length: 90 }, (_, bin) => (bin >= 30 && bin < 35 ? 0 : 100));
    const late = lane(0.94, { bins: { requests: ok.map(() => 100), ok } });
    const rows = [row("grid", "search", { type: "lane", lane: late }, at), bounds(0.9, 0.96, at)];
    expect(verdictOf(rows, /changing load: attainment/)).toMatchObject({ verdict: "met", measured: "0.979" });
    expect(verdictOf(rows, /changing load: search less/)).toMatchObject({ verdict: "met" });
    // Five lost bins after the first change, none after the second: (60 + 10) / 2 s against 10 s.
    expect(verdictOf(rows, /time to recover/)).toMatchObject({
      verdict: "missed",
      measured: "3.50 (35 s against 10 s)",
    });
  });

  it.each([
    { bursts: 0.9, verdict: "met" },
    { bursts: 0.899, verdict: "missed" },
  ])("allows nothing worse than (100,100) under bursts: $bursts", ({ bursts, verdict }) => {
    const at = { scenario: "bursts", fraction: 1 };
    const rows = [ran("search", bursts, at), ran("100/100", 0.9, at)];
    expect(verdictOf(rows, /bursts and silences/).verdict).toBe(verdict);
  });

  it("counts switches of a steady load after the first five minutes", () => {
    const to = { prefillSmPct: 90, decodeSmPct: 100 };
    const switches = (...atS: number[]): SwitchNote[] => atS.map((s) => ({ atMs: 1000 * s, to }));
    const long = (...atS: number[]) =>
      row("long", "search", { type: "lane", lane: lane(1, { switches: switches(...atS) }) });
    // The lane lasts fifteen minutes: ten of them count.
    expect(verdictOf([long(10, 20, 30, 400)], /switches/).verdict).toBe("met");
    expect(verdictOf([long(10, 400, 500)], /switches/).verdict).toBe("missed");
  });

  it("prices a wrong profile against the right one", () => {
    const told = (variant: string, share: number): Row => ({
      ...row("sensitivity", "search", { type: "lane", lane: lane(share) }),
      variant,
    });
    const price = (share: number) =>
      verdictOf([told(BASE_VARIANT, 0.95), told("no profile", share)], /price of no profile/).verdict;
    expect(price(0.931)).toBe("met");
    expect(price(0.929)).toBe("missed");
  });

  it("holds a decision to a millisecond", () => {
    const of = (p99Ms: number) =>
      targetLines(new Results([]), { p50Ms: 0.1, p99Ms, decisions: 800 }).at(-1)?.verdict;
    expect([of(0.9), of(1.1)]).toEqual(["met", "missed"]);
  });
});
