import fc from "fast-check";
import { expect, it } from "vitest";
import { differences } from "./json-difference.js";

it("finds none between a value and its JSON with another order of keys", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      // JSON writes -0 as 0, so both sides go through it.
      const stored = JSON.parse(JSON.stringify(value)) as unknown;
      expect(differences(stored, reversedKeys(stored))).toEqual([]);
    }),
  );
});

it("names each place and both values", () => {
  const stored = { kind: "move", allocation: { split: { prefillSmPct: 60 } }, guards: [1, 2], state: null };
  const again = {
    kind: "hold",
    allocation: { split: { prefillSmPct: 65 } },
    guards: [1, 3],
    extra: true,
    state: null,
  };
  expect(differences(stored, again)).toEqual([
    'kind: stored "move", again "hold"',
    "allocation.split.prefillSmPct: stored 60, again 65",
    "guards[1]: stored 2, again 3",
    "extra: stored nothing, again true",
  ]);
});

it("does not call null, absent and an empty list the same, and stops after so many", () => {
  expect(differences({ a: null }, {})).toHaveLength(1);
  expect(differences([], {})).toHaveLength(1);
  const long = Array.from({ length: 50 }, (_, i) => i);
  expect(
    differences(
      long,
      long.map((each) => each + 1),
    ),
  ).toHaveLength(10);
});

function reversedKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversedKeys);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([key, each]) => [key, reversedKeys(each)]),
  );
}
