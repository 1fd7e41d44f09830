import type { FleetItem } from "@fulcrum/contracts/live.js";
import { expect, test } from "vitest";
import { arrange, judge, type FleetFilter } from "./fleet-view.js";

const SLO = {
  ttft: { percentile: 0.9, boundMs: 300 },
  tpot: { percentile: 0.9, boundMs: 100 },
  attainmentShare: 0.9,
};

function item(name: string, over: Partial<FleetItem> = {}, conditions: string[] = []): FleetItem {
  const instance = {
    name,
    pool: name.slice(0, 1),
    mode: "enforce",
    conditions,
    agents: ["node-1"],
    lastDecision: null,
  };
  return {
    instance: instance as unknown as FleetItem["instance"],
    attainmentShare: 0.95,
    ttftMs: 200,
    tpotMs: 50,
    slo: SLO,
    kvUsedShare: 0.5,
    arrivalPerS: 3,
    spark: { stepMs: 2_000, attainment: [], ttftMs: [], tpotMs: [] },
    ...over,
  };
}

test.each([
  [item("a"), "meets its SLO"],
  [item("a", { ttftMs: 300 }), "meets its SLO"],
  [item("a", { ttftMs: 301 }), "misses TTFT"],
  [item("a", { tpotMs: 140 }), "misses TPOT"],
  [item("a", { ttftMs: 900, tpotMs: 140 }), "misses TTFT and TPOT"],
  [item("a", { attainmentShare: 0.6 }), "misses attainment"],
  [item("a", { ttftMs: 900 }, ["StaleSignal"]), "no signal"],
  [item("a", {}, ["Degraded"]), "needs a look"],
  [item("a", { ttftMs: null, tpotMs: null, attainmentShare: null }), "no requests"],
])("an instance is judged in words (%#)", (given, words) => expect(judge(given).words).toBe(words));

const ALL = [
  item("a-ok"),
  item("a-little", { ttftMs: 330 }),
  item("b-much", { ttftMs: 3_000 }),
  item("b-quiet", { ttftMs: null }, ["NoSignal"]),
  item("a-held", {}, ["Pinned"]),
].map((one) => ({ item: one, judgement: judge(one) }));

const names = (over: Partial<FleetFilter>) =>
  arrange(ALL, { text: "", pool: "", state: "", sort: "worst", ...over }).map(
    ({ item: { instance } }) => instance.name,
  );

test("those that miss most come first, then those that are silent", () => {
  expect(names({})).toEqual(["b-much", "a-little", "b-quiet", "a-held", "a-ok"]);
});

test("text, pool and state narrow the list together", () => {
  expect(names({ text: "misses B-" })).toEqual(["b-much"]);
  expect(names({ pool: "a", state: "misses" })).toEqual(["a-little"]);
  expect(names({ state: "paused" })).toEqual(["a-held"]);
  expect(names({ sort: "name", pool: "b" })).toEqual(["b-much", "b-quiet"]);
});
