import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadOf } from "../commands/demo.js";
import { requestsUntil } from "./arrivals.js";
import { LANES } from "./lanes.js";
import type { DemoSetting } from "./setting.js";
import { virtualFigures } from "./virtual.js";

const folder = mkdtempSync(join(tmpdir(), "fulcrum-virtual-"));
afterAll(() => rmSync(folder, { recursive: true }));

const SETTING: DemoSetting = {
  durationS: 20,
  speed: 4,
  seed: 1,
  slo: {
    ttft: { percentile: 0.9, boundMs: 500 },
    tpot: { percentile: 0.9, boundMs: 60 },
    attainmentShare: 0.9,
  },
  load: loadOf({}),
};

describe("the demo in virtual time", () => {
  const figures = virtualFigures(SETTING);

  it("serves the same arrivals on every lane, until the engines' end and no further", () => {
    expect(figures.lanes.map(({ name }) => name)).toEqual(LANES.map(({ name }) => name));
    const [first] = figures.lanes;
    for (const { requests, engineS } of figures.lanes) {
      expect(engineS).toBe(80);
      expect(requests.arrived).toBe(first?.requests.arrived);
      expect(requests.finished).toBeGreaterThan(100);
      expect(requests.unfinished).toBeGreaterThan(0);
      expect(requests.both + requests.ttftOnly + requests.tpotOnly + requests.neither).toBe(
        requests.finished,
      );
    }
  });

  it("decides once in an interval of engine time, and only what a policy moves is moved", () => {
    for (const { name, moves, holds, firstDecisionMs } of figures.lanes) {
      const count = [...Object.values(moves), ...Object.values(holds)].reduce((sum, each) => sum + each, 0);
      expect(count).toBe(10);
      expect(firstDecisionMs).toBe(8_000);
      if (!["feedback", "search"].includes(name)) expect(moves).toEqual({});
    }
  });

  it("gives the same figures again, and others with another seed", () => {
    expect(virtualFigures(SETTING)).toEqual(figures);
    expect(virtualFigures({ ...SETTING, seed: 2 }).lanes).not.toEqual(figures.lanes);
  });

  it("takes the speed for what it is: how much engine time a second holds", () => {
    const slower = virtualFigures({ ...SETTING, durationS: 80, speed: 1 });
    expect(slower.lanes).toEqual(figures.lanes);
  });
});

describe("requestsUntil", () => {
  const lengths = join(folder, "lengths.csv");
  writeFileSync(
    lengths,
    "task,lang,length_native,answer_tokens,pred_tokens,est_prompt_tokens\nqa,en,1,20,30,400\n",
  );
  const azure = join(folder, "azure.csv");
  const row = (s: number, prompt: number) => `2026-01-01 00:00:0${s}.0000000,${prompt},50`;
  writeFileSync(
    azure,
    `TIMESTAMP,ContextTokens,GeneratedTokens\n${row(0, 300)}\n${row(2, 9_000)}\n${row(4, 500)}\n`,
  );

  it("plays a trace as the engines do: stretched, again at its end, without what is too long", () => {
    const load = loadOf({ trace: azure, rateScale: 2 });
    const requests = requestsUntil(load, 1, 8_000);
    expect(requests.map(({ arrivalMs }) => arrivalMs)).toEqual([0, 2_000, 4_000, 6_000, 8_000]);
    expect(requests.map(({ promptTokens }) => promptTokens)).toEqual([300, 500, 300, 500, 300]);
  });

  it("draws lengths at the rate asked for", () => {
    const requests = requestsUntil(loadOf({ trace: lengths, rate: 5, rateScale: 2 }), 1, 100_000);
    expect(requests.length / 100).toBeGreaterThan(9);
    expect(requests.length / 100).toBeLessThan(11);
  });
});
