import { nearestSplit } from "@fulcrum/core/guard/grid.js";
import { limitsFault } from "@fulcrum/core/guard/input-fault.js";
import { splitWithin } from "@fulcrum/core/allocation.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { renderGroups } from "./groups-file.js";
import { nearestGroup, planGroup, smLimits, smUnits, splitOfGroup } from "./sm-groups.js";

describe("the group nearest to a split", () => {
  test.each<[string, number, string, [number, number], [number, number]]>([
    ["in units of 8 on Hopper, decode getting the rest", 132, "9.0", [54.5, 42.4], [72, 60]],
    ["what is left idle goes to both alike", 132, "9.0", [30, 30], [64, 68]],
    ["in units of 2 on Ampere", 108, "8.0", [60, 40], [64, 44]],
    ["at least 4 SMs on Ampere", 108, "8.9", [1, 99], [4, 104]],
    ["at least 8 SMs on Hopper, also for decode", 132, "9.0", [99, 1], [120, 12]],
  ])("%s", (_what, smCount, capability, [prefillSmPct, decodeSmPct], group) => {
    expect(nearestGroup({ prefillSmPct, decodeSmPct }, smUnits(smCount, capability))).toEqual(group);
  });

  test("is made of all SMs, within SGLang's units, and stays when it is planned again", () => {
    const pct = fc.double({ min: 1, max: 100, noNaN: true });
    const gpu = fc.constantFrom<[number, string]>(
      [132, "9.0"],
      [108, "8.0"],
      [84, "8.6"],
      [80, "7.0"],
      [144, "9.0"],
    );
    fc.assert(
      fc.property(pct, pct, gpu, (prefillSmPct, decodeSmPct, [smCount, capability]) => {
        const units = smUnits(smCount, capability);
        const group = nearestGroup({ prefillSmPct, decodeSmPct }, units);
        expect(group[0] + group[1]).toBe(smCount);
        expect(group[0] % units.unitSms).toBe(0);
        expect(Math.min(...group)).toBeGreaterThanOrEqual(units.leastSms);
        const split = splitOfGroup(group, smCount);
        expect(nearestGroup(split, units)).toEqual(group);
        expect(planGroup({ generation: 1, split, kvQuotaPct: 100 }, group, units).adjusted).toEqual([]);
      }),
    );
  });

  test.each([[132, "9.0"] as const, [108, "8.0"] as const])(
    "the limits are ones that the controller takes and finds splits in: %d SMs",
    (smCount, capability) => {
      const limits = smLimits(smUnits(smCount, capability));
      expect(limitsFault(limits)).toBeNull();
      for (const prefillSmPct of [6, 20, 50, 80, 94]) {
        const split = nearestSplit({ prefillSmPct, decodeSmPct: 100 - prefillSmPct }, limits);
        expect(splitWithin(split, limits)).toBe(true);
      }
    },
  );
});

test("the groups file is what SGLang's load_pdmux_config reads", () => {
  const units = smUnits(132, "9.0");
  const config = { splitForwardTokenBudget: 65_536, decodeBsDivisor: 36 };
  const text = renderGroups(8, { prefillSmPct: 54.5, decodeSmPct: 45.5 }, config, units);
  expect(text.startsWith("# fulcrum generation 8\n")).toBe(true);
  expect(parse(text)).toEqual({
    sm_group_num: 3,
    manual_divisions: [[72, 60, 1]],
    split_forward_token_budget: 65_536,
    decode_bs_divisor: 36,
  });
});
