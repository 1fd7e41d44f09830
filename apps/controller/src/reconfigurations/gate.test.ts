import type { RankStep } from "@fulcrum/contracts/agent-api.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { Gate } from "../fleet/gate.js";
import { allArmed, COVER_MS, mayYetSwitch, mustHearFirst, opened, type RankAtGate, waitMs } from "./gate.js";

const NOW_MS = 1_000_000;
const CLOSED: Gate = { open: false };
const STEPS = ["preparing", "ready", "armed", "switched", "verified", "failed"] as const;
const count = fc.nat({ max: 1_000_000 });
const perS = fc.double({ min: 0, max: 2_000, noNaN: true });
const told = fc.record({
  prefill: count,
  decode: count,
  prefillPerS: perS,
  decodePerS: perS,
  atMs: fc.integer({ min: NOW_MS - 600_000, max: NOW_MS }),
});
const rankAt = (steps: readonly (RankStep | null)[]) =>
  fc.record({
    step: fc.constantFrom(...steps),
    iterations: fc.option(told),
  }) satisfies fc.Arbitrary<RankAtGate>;
const ranksAt = (...steps: readonly (RankStep | null)[]) =>
  fc.array(rankAt(steps), { minLength: 1, maxLength: 8 });

describe("the gate", () => {
  test("opens when every rank of the group is ready or further, and only then", () => {
    fc.assert(
      fc.property(ranksAt(null, ...STEPS), fc.integer({ min: 1, max: 8 }), (ranks, rankCount) => {
        const all =
          ranks.length >= rankCount &&
          ranks.every(({ step }) => step !== null && step !== "preparing" && step !== "failed");
        expect(opened(CLOSED, ranks, rankCount, NOW_MS) !== null).toBe(all);
      }),
    );
  });

  test("does not open twice, nor where there is none", () => {
    const ready: RankAtGate = { step: "ready", iterations: null };
    expect(opened({ open: true, switchAt: null, openedAtMs: 0 }, [ready], 1, NOW_MS)).toBeNull();
    expect(opened(null, [ready], 1, NOW_MS)).toBeNull();
  });

  test("names iterations that lie ahead of every rank by what telling them takes at its rate", () => {
    fc.assert(
      fc.property(fc.array(told, { minLength: 1, maxLength: 8 }), (all) => {
        const ranks = all.map((iterations) => ({ step: "ready" as const, iterations }));
        const { switchAt } = opened(CLOSED, ranks, ranks.length, NOW_MS)!;
        for (const role of ["prefill", "decode"] as const) {
          expect(Number.isInteger(switchAt![role])).toBe(true);
          for (const one of all) {
            const rate = role === "prefill" ? one.prefillPerS : one.decodePerS;
            expect(switchAt![role]).toBeGreaterThanOrEqual(one[role] + (rate * COVER_MS) / 1_000);
            expect(switchAt![role]).toBeGreaterThanOrEqual(one[role] + (role === "decode" ? 300 : 120));
          }
        }
      }),
    );
  });

  test("names none when a rank does not count or has switched: there is none that all could keep", () => {
    const counting = { prefill: 1, decode: 1, prefillPerS: 1, decodePerS: 1, atMs: NOW_MS };
    const ready: RankAtGate = { step: "ready", iterations: counting };
    for (const other of [
      { step: "ready", iterations: null },
      { step: "switched", iterations: counting },
      { step: "verified", iterations: null },
    ] as const)
      expect(opened(CLOSED, [ready, other], 2, NOW_MS)).toEqual({
        open: true,
        switchAt: null,
        openedAtMs: NOW_MS,
      });
  });
});

test("a rank may yet switch alone while the gate is open and it is ready or armed", () => {
  const at = (...steps: (RankStep | null)[]) => steps.map((step) => ({ step, iterations: null }));
  const open: Gate = { open: true, switchAt: { prefill: 9, decode: 9 }, openedAtMs: 0 };
  expect(mayYetSwitch(open, at("failed", "armed"))).toBe(true);
  expect(mayYetSwitch(open, at("failed", "ready"))).toBe(true);
  expect(mayYetSwitch(open, at("failed", "verified"))).toBe(false);
  expect(mayYetSwitch(CLOSED, at("failed", "ready"))).toBe(false);
  expect(mayYetSwitch(null, at("failed", "ready"))).toBe(false);
  expect(allArmed(open, at("armed", "switched"))).toBe(true);
  expect(allArmed(open, at("armed", "ready"))).toBe(false);
  expect(allArmed({ ...open, switchAt: null }, at("switched", "verified"))).toBe(false);
});

test("an iteration that is armed everywhere is waited for at a tenth of the rate, and at most ten minutes", () => {
  const at = (prefillPerS: number): RankAtGate[] => [
    { step: "armed", iterations: { prefill: 100, decode: 50, prefillPerS, decodePerS: 1_000, atMs: NOW_MS } },
  ];
  expect(waitMs({ prefill: 130, decode: 50 }, at(10), NOW_MS)).toBe(30_000);
  expect(waitMs({ prefill: 130, decode: 50 }, at(0), NOW_MS)).toBe(600_000);
  expect(waitMs({ prefill: 130, decode: 50 }, at(0.01), NOW_MS)).toBe(600_000);
  expect(waitMs({ prefill: 90, decode: 50 }, at(10), NOW_MS)).toBe(0);
});

test.each([
  ["on time", 1_500, 1_700, false],
  ["late", 1_500, 2_001, true],
  ["late, but the ranks were heard first already", 9_000, 9_100, false],
  ["very late, and the ranks were heard first already", 9_000, 90_000, false],
])(
  "a look that comes %s hears the ranks before it calls them back: %#",
  (_what, deadlineMs, nowMs, expected) => {
    const gate: Gate = { open: true, switchAt: { prefill: 9, decode: 9 }, openedAtMs: 0 };
    expect(mustHearFirst(gate, deadlineMs, nowMs)).toBe(expected);
    expect(mustHearFirst({ ...gate, switchAt: null }, deadlineMs, nowMs)).toBe(false);
    expect(mustHearFirst(CLOSED, deadlineMs, nowMs)).toBe(false);
  },
);
