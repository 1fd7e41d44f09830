import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { changeWords } from "./audit.js";
import { durationMsOf, numberIn, shareOf, wholeIn } from "./command.js";
import { loadOf } from "./demo.js";
import { mergedFields, pairOf, poolFields, readPoolFile, splitOf } from "./pool-options.js";
import { keptBeside, poolInputOf } from "./pools.js";
import { changedSlo, newSlo } from "./slo-options.js";

const SLO = {
  ttft: { percentile: 0.9, boundMs: 300 },
  tpot: { percentile: 0.9, boundMs: 100 },
  attainmentShare: 0.9,
};

describe("values on the command line", () => {
  it.each([
    ["0.9", 0.9],
    ["90%", 0.9],
    ["p99.9", 0.999],
    ["1", 1],
    [".5", 0.5],
    ["99.9%", 0.999],
    ["99.99 %", 0.9999],
    ["57%", 0.57],
    ["100%", 1],
  ])("the share %s is %d to the last digit", (text, want) => expect(shareOf(text)).toBe(want));

  it.each(["90", "0", "p0", "-1", "", "x", "120%"])("%j is no share", (text) =>
    expect(() => shareOf(text)).toThrow("share such as 0.9, 90% or p90"),
  );

  it.each([
    ["90s", 90_000],
    ["30min", 1_800_000],
    ["2h", 7_200_000],
    ["7d", 604_800_000],
    ["1.5 h", 5_400_000],
    ["250ms", 250],
  ])("the duration %s is %d ms", (text, want) => expect(durationMsOf(text)).toBe(want));

  it.each(["90", "2 weeks", "", "-1h"])("%j is no duration", (text) =>
    expect(() => durationMsOf(text)).toThrow("duration such as"),
  );

  it("names the bounds of a number", () => {
    expect(numberIn(1, 100)("33.5")).toBe(33.5);
    expect(() => numberIn(1, 100)("101")).toThrow("a number from 1 to 100");
    expect(() => wholeIn(0, 16)("1.5")).toThrow("a whole number from 0 to 16");
    expect(() => wholeIn(0, 16)("")).toThrow("a whole number");
  });

  it("reads a split with a comma or a slash", () => {
    expect(splitOf("80,100")).toEqual([80, 100]);
    expect(splitOf("60 / 40")).toEqual([60, 40]);
    expect(() => splitOf("80")).toThrow("two caps from 1 to 100");
    expect(() => splitOf("0,100")).toThrow("two caps from 1 to 100");
  });

  it("collects name=value pairs", () => {
    const first = pairOf("dwellMs=30000", undefined);
    expect(pairOf("moveKvQuota=false", first)).toEqual({ dwellMs: 30_000, moveKvQuota: false });
    expect(pairOf("bothMissed=hold", undefined)).toEqual({ bothMissed: "hold" });
    for (const bad of ["dwellMs", "=3", "dwellMs="])
      expect(() => pairOf(bad, undefined)).toThrow("name=value");
  });
});

describe("an SLO from options", () => {
  it("changes only what is named, a phase's own percentile over the common one", () => {
    expect(changedSlo(SLO, { tpotMs: 80 })).toEqual({ ...SLO, tpot: { percentile: 0.9, boundMs: 80 } });
    expect(changedSlo(SLO, { percentile: 0.95, ttftPercentile: 0.99, attainment: 0.8 })).toEqual({
      ttft: { percentile: 0.99, boundMs: 300 },
      tpot: { percentile: 0.95, boundMs: 100 },
      attainmentShare: 0.8,
    });
  });

  it("needs both bounds when there is none yet", () => {
    expect(newSlo({ ttftMs: 300, tpotMs: 100 })).toEqual(SLO);
    expect(() => newSlo({ ttftMs: 300 })).toThrow("--ttft-ms and --tpot-ms");
  });

  describe("with classes from a file", () => {
    const folder = mkdtempSync(join(tmpdir(), "fulcrum-slo-test-"));
    afterAll(() => rmSync(folder, { recursive: true, force: true }));
    const fileOf = (text: string) => {
      const file = join(folder, "classes.yaml");
      writeFileSync(file, text);
      return file;
    };
    const batch = { name: "batch", ...SLO, attainmentShare: 0.8 };
    const withBatch = { ...SLO, classes: [batch] };

    it("takes them as they are listed, keeps them through other changes, and takes them away", () => {
      const text = `
- name: batch
  ttft: { percentile: 0.9, boundMs: 300 }
  tpot: { percentile: 0.9, boundMs: 100 }
  attainmentShare: 0.8
`;
      expect(changedSlo(SLO, { classes: fileOf(text) })).toEqual(withBatch);
      expect(newSlo({ ttftMs: 300, tpotMs: 100, classes: fileOf(JSON.stringify([batch])) })).toEqual(
        withBatch,
      );
      expect(changedSlo(withBatch, { attainment: 0.95 })).toEqual({ ...withBatch, attainmentShare: 0.95 });
      expect(changedSlo(withBatch, { classes: false })).toEqual(SLO);
    });

    it.each([
      ["no list", "name: batch", /classes.yaml: classes: /],
      [
        "a bound that is none",
        JSON.stringify([{ ...batch, ttft: { percentile: 0.9, boundMs: -1 } }]),
        /classes\.0\.ttft\.boundMs: /,
      ],
      ["a name twice", JSON.stringify([batch, batch]), /must have different names/],
      [
        "too many",
        JSON.stringify(["a", "b", "c", "d", "e"].map((name) => ({ ...batch, name }))),
        /classes: /,
      ],
      ["no YAML", "- [", /classes.yaml line \d+ is not YAML/],
    ])("refuses %s", (_what, text, words) => {
      expect(() => changedSlo(SLO, { classes: fileOf(text) })).toThrow(words);
    });
  });
});

describe("a pool from options", () => {
  const folder = mkdtempSync(join(tmpdir(), "fulcrum-cli-test-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const file = (text: string) => {
    const path = join(folder, "pool.yaml");
    writeFileSync(path, text);
    return path;
  };

  it("makes a static policy from --split, with all of the KV blocks unless said", () => {
    const allocation = { split: { prefillSmPct: 80, decodeSmPct: 100 }, kvQuotaPct: 100 };
    const policy = { name: "static", params: { allocation } };
    expect(poolFields({ split: [80, 100] })).toEqual({ policy });
    expect(poolFields({ policy: "static", split: [80, 100], kvQuota: 70 })).toEqual({
      policy: { name: "static", params: { allocation: { ...allocation, kvQuotaPct: 70 } } },
    });
  });

  it.each([
    [{ policy: "static" }, "--split"],
    [{ policy: "feedback", split: [80, 100] as const }, "--policy static"],
    [{ kvQuota: 50 }, "--policy static"],
    [{ policy: "static", split: [80, 100] as const, param: { stepPct: 2 } }, "--param is not for the static"],
    [{ policy: "search", split: [80, 100] as const }, "--policy static"],
  ])("refuses %j", (options, want) => expect(() => poolFields(options)).toThrow(want));

  it("takes a YAML file with options over it, guards and limits name by name", () => {
    const path = file(
      "name: a\nmodel: m\nguards: {dwellMs: 1000, minSamples: 10}\nslo: {ttft: {percentile: 0.9, boundMs: 300}, tpot: {percentile: 0.9, boundMs: 100}, attainmentShare: 0.9}\n",
    );
    expect(
      poolInputOf(undefined, { file: path, guard: { dwellMs: 5 }, mode: "enforce", tpotMs: 50 }),
    ).toEqual({
      name: "a",
      model: "m",
      mode: "enforce",
      guards: { dwellMs: 5, minSamples: 10 },
      slo: { ...SLO, tpot: { percentile: 0.9, boundMs: 50 } },
    });
    expect(mergedFields({ limits: { minSmPct: 10 } }, {})).toEqual({ limits: { minSmPct: 10 } });
  });

  it("names the file and the line of what is no YAML", () => {
    expect(() => readPoolFile(file("name: a\nmodel: [\n"))).toThrow(/pool\.yaml line \d+ is not YAML/);
    expect(() => readPoolFile(file("just words"))).toThrow("must hold fields");
    expect(() => readPoolFile(join(folder, "none.yaml"))).toThrow("cannot be read");
  });

  it("asks for a name and a model", () => {
    expect(() => poolInputOf(undefined, { ttftMs: 1, tpotMs: 1 })).toThrow("give the pool a name");
    expect(() => poolInputOf("a", { ttftMs: 1, tpotMs: 1 })).toThrow("--model");
  });

  const poolWith = (policy: object) =>
    ({ limits: { minSmPct: 10 }, policy }) as unknown as Parameters<typeof keptBeside>[0];

  it("keeps limits and parameters that a change does not name", () => {
    const pool = poolWith({ name: "feedback", params: { stepPct: 5, maxSteps: 3 } });
    expect(
      keptBeside(pool, { limits: { maxSmPct: 90 }, policy: { name: "feedback", params: { stepPct: 2 } } }),
    ).toEqual({
      limits: { minSmPct: 10, maxSmPct: 90 },
      policy: { name: "feedback", params: { stepPct: 2, maxSteps: 3 } },
    });
    expect(keptBeside(pool, { mode: "observe" })).toEqual({ mode: "observe" });
  });

  it("takes --param alone for the policy that the pool has, and for the default one of a new pool", () => {
    const fields = poolFields({ param: { minGainShare: 0.02 } });
    const search = poolWith({ name: "search", params: { minGainShare: 0.01, moveKvQuota: true } });
    expect(keptBeside(search, fields)["policy"]).toEqual({
      name: "search",
      params: { minGainShare: 0.02, moveKvQuota: true },
    });
    expect(() => keptBeside(poolWith({ name: "static", params: {} }), fields)).toThrow("--param is not for");
    const body = poolInputOf("a", { model: "m", ttftMs: 1, tpotMs: 1, param: { minGainShare: 0.02 } });
    expect(body.policy).toEqual({ name: "search", params: { minGainShare: 0.02 } });
    const fromFile = { policy: { name: "semi-pd", params: { stepPct: 4 } } };
    expect(mergedFields(fromFile, poolFields({ param: { maxSteps: 2 } }))["policy"]).toEqual({
      name: "semi-pd",
      params: { stepPct: 4, maxSteps: 2 },
    });
  });

  it("starts another policy from its own defaults, not from the parameters of the one before", () => {
    const pool = poolWith({ name: "feedback", params: { stepPct: 9 } });
    expect(keptBeside(pool, poolFields({ policy: "semi-pd" }))["policy"]).toEqual({ name: "semi-pd" });
  });
});

/** A file that is there and no trace. */
const HERE = new URL(import.meta.url).pathname;

describe("the demo's load", () => {
  it("is the bundled one, or a trace with its format", () => {
    expect(loadOf({}).flags).toEqual(["--workload", "chat-and-documents"]);
    expect(loadOf({ rateScale: 2 }).name).toContain("2 times its rate");
    expect(loadOf({ trace: HERE, traceFormat: "lengths", rate: 4 }).flags).toEqual([
      "--trace",
      HERE,
      "--trace-format",
      "lengths",
      "--rate",
      "4",
    ]);
  });

  it.each([
    [{ rate: 3 }, "need --trace"],
    [{ trace: HERE }, "say which with --trace-format"],
    [{ trace: HERE, traceFormat: "azure" as const, rate: 3 }, "--rate goes with"],
    [{ trace: HERE, traceFormat: "lengths" as const }, "--rate goes with"],
    [{ trace: "/nowhere/a.csv", traceFormat: "azure" as const }, "there is no file"],
  ])("refuses %j", (options, want) => expect(() => loadOf(options)).toThrow(want));
});

it("tells an audit entry's change field by field, without what every write changes", () => {
  expect(changeWords(null, { name: "a" })).toBe("new");
  expect(changeWords({ name: "a" }, null)).toBe("gone");
  expect(
    changeWords(
      { version: 1, slo: { ttft: { boundMs: 300 } }, mode: "observe" },
      { version: 2, slo: { ttft: { boundMs: 250 } }, mode: "observe" },
    ),
  ).toBe("slo.ttft.boundMs 300 -> 250");
});
