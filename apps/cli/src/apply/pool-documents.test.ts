import { describe, expect, test } from "vitest";
import { readPools } from "./pool-documents.js";

const SLO = `slo:
  ttft: {percentile: 0.9, boundMs: 300}
  tpot: {percentile: 0.9, boundMs: 100}
  attainmentShare: 0.9
`;
const pool = (name: string, more = "") => `name: ${name}\nmodel: m\n${SLO}${more}`;
const faultsOf = (text: string) =>
  readPools(text).faults.map(({ line, column, message }) => `${line}:${column} ${message}`);

describe("what a file may look like", () => {
  test.each([
    ["one pool", pool("a"), ["a"]],
    ["documents", `${pool("a")}---\n${pool("b")}---\n`, ["a", "b"]],
    ["a list", JSON.stringify([document("a"), document("b")]), ["a", "b"]],
    ["JSON with pools", JSON.stringify({ pools: [document("a")] }), ["a"]],
    [
      "anchors",
      `- &base ${JSON.stringify(document("a"))}\n- {<<: *base, name: b}\n- {<<: *base, name: c, mode: enforce}\n`,
      ["a", "b", "c"],
    ],
  ])("%s", (_what, text, names) => {
    const { pools, faults } = readPools(text);
    expect(faults).toEqual([]);
    expect(pools.map(({ name }) => name)).toEqual(names);
  });

  test.each(["pools: []\n", "[]", "# there are no pools yet\npools: []\n"])(
    "a list that is said to be empty: %s",
    (text) => {
      expect(readPools(text)).toEqual({ pools: [], faults: [] });
    },
  );

  test("fills in what is left out", () => {
    const [made] = readPools(pool("a", "guards: {dwellMs: 5}\npolicy: {name: feedback}\n")).pools;
    expect(made).toMatchObject({ mode: "observe", frozen: false, approval: { required: 1 } });
    expect(made?.guards).toMatchObject({ dwellMs: 5, minSamples: 30 });
    expect(made?.policy).toMatchObject({ name: "feedback", params: { stepPct: 5 } });
  });
});

describe("what is refused, with its place, its bound and what may have been meant", () => {
  test.each([
    ["a field that is none", pool("a", "mod: enforce\n"), /^7:1 mod: is no field\. Did you mean mode/],
    [
      "one further in",
      pool("a", "guards:\n  dwelMs: 1\n"),
      /^8:3 guards\.dwelMs: is no field\. Did you mean dwellMs/,
    ],
    [
      "a parameter that is none",
      pool("a", "policy:\n  name: feedback\n  params: {stepPc: 1}\n"),
      /^9:12 policy\.params\.stepPc: is no field\. Did you mean stepPct/,
    ],
    [
      "a value that is none",
      pool("a", "mode: enfroce\n"),
      /^7:7 mode: .*got "enfroce"\. Did you mean enforce/,
    ],
    [
      "a policy that is none",
      pool("a", "policy: {name: serach}\n"),
      /^7:16 policy\.name: .*Did you mean search/,
    ],
    [
      "a number below its bound",
      pool("a", "guards: {dwellMs: -1}\n"),
      /^7:19 guards\.dwellMs: must be at least 0, got -1$/,
    ],
    [
      "a number above its bound",
      pool("a", "lookbackMs: 900000\n"),
      /^7:13 lookbackMs: must be at most 600000, got 900000$/,
    ],
    [
      "a text for a number",
      pool("a", "lookbackMs: soon\n"),
      /^7:13 lookbackMs: must be of type number, got "soon"$/,
    ],
    ["a field that is missing", pool("a").replace("model: m\n", ""), /^1:1 model: is required$/],
    [
      "a field that is missing further in",
      pool("a").replace(", boundMs: 300", ""),
      /^4:9 slo\.ttft\.boundMs: is required$/,
    ],
    [
      "limits that cross",
      pool("a", "limits: {minSmPct: 60, maxSmPct: 40}\n"),
      /^7:20 limits\.minSmPct: must be at most limits\.maxSmPct/,
    ],
    [
      "limits that no split can meet",
      pool("a", "limits: {minSmPct: 90, maxSumPct: 50}\n"),
      /^7:\d+ limits\.maxSumPct: must be at least 180, twice limits\.minSmPct \(90\), got 50$/,
    ],
    ["a number for a name", pool("a", "mode: 5\n"), /^7:7 mode: .*got 5\. .*observe.*enforce/],
    ["a name with capitals", pool("Chat"), /^1:7 name: must be 1\.\.63 of a-z/],
    ["a name twice", `${pool("a")}---\n${pool("a")}`, /^8:7 name: a stands on line 1 too$/],
    ["no YAML", "name: a\nmodel: [\n", /^\d+:\d+ is not YAML: /],
    ["a field twice", "name: a\nname: b\n", /^2:1 is not YAML: Map keys must be unique/],
    ["words", "just words", /^1:1 must be a pool, with fields/],
    ["nothing", "", /^1:1 holds no pool$/],
    ["a comment", "# later\n", /^1:1 holds no pool$/],
    ["an alias of nothing", "name: *a\n", /^1:1 Unresolved alias/],
  ])("%s", (_what, text, want) => {
    expect(faultsOf(text)).toEqual([expect.stringMatching(want)]);
    expect(readPools(text).faults.length).toBeGreaterThan(0);
  });

  test("every fault of every pool, in the order of the text", () => {
    const text = `${pool("a", "mode: x\nlookbackMs: 1\n")}---\n${pool("b", "fozen: true\n")}`;
    expect(faultsOf(text).map((line) => line.split(" ")[0])).toEqual(["7:7", "8:13", "16:1"]);
  });

  test("what unfolds without end", () => {
    const bomb = ["a: &a [x,x,x,x,x,x,x,x,x]"];
    for (let i = 1; i < 9; i += 1) {
      const [name, of] = ["abcdefghi"[i]!, "abcdefghi"[i - 1]!];
      bomb.push(`${name}: &${name} [${Array.from({ length: 9 }, () => `*${of}`).join(",")}]`);
    }
    expect(faultsOf(bomb.join("\n"))).toEqual([expect.stringContaining("Excessive alias count")]);
  });

  test("more pools than any file has", () => {
    const many = Array.from({ length: 501 }, (_, i) => document(`p${i}`));
    expect(faultsOf(JSON.stringify(many))).toEqual(["1:1 holds 501 pools, more than 500"]);
  });
});

function document(name: string) {
  const bound = (boundMs: number) => ({ percentile: 0.9, boundMs });
  return { name, model: "m", slo: { ttft: bound(300), tpot: bound(100), attainmentShare: 0.9 } };
}
