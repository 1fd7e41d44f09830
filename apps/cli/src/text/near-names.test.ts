import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { editDistance, nearNames, suggestion } from "./near-names.js";

const POOLS = ["chat-8b", "chat-70b", "batch", "embeddings"];

describe("nearNames", () => {
  it.each([
    ["chat8b", ["chat-8b"]],
    ["chat-7b", ["chat-70b", "chat-8b"]],
    ["chat", ["chat-8b", "chat-70b"]],
    ["chta-8b", ["chat-8b"]],
    ["Batch", ["batch"]],
    ["embed", ["embeddings"]],
    ["zzzzzz", []],
    ["", []],
  ])("for %s offers %j", (typed, want) => expect(nearNames(typed, POOLS)).toEqual(want));

  it("never offers more than three", () => {
    const many = Array.from({ length: 20 }, (_, i) => `pool-${i}`);
    expect(nearNames("pool-", many)).toHaveLength(3);
  });
});

it("says what there is when nothing is near, and that there is nothing", () => {
  expect(suggestion("pool", "chat-7b", POOLS)).toBe("Did you mean chat-70b or chat-8b?");
  expect(suggestion("pool", "zzzzzz", POOLS)).toBe("The pools are: chat-8b, chat-70b, batch, embeddings.");
  expect(suggestion("pool", "x", [])).toBe("There are no pools yet.");
});

describe("editDistance", () => {
  const name = fc.string({ unit: fc.constantFrom("a", "b", "-"), maxLength: 8 });

  it("is zero exactly for equal names, the same both ways, and never over the longer length", () => {
    fc.assert(
      fc.property(name, name, (a, b) => {
        const distance = editDistance(a, b);
        expect(distance === 0).toBe(a === b);
        expect(editDistance(b, a)).toBe(distance);
        expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
      }),
    );
  });

  it("counts a swap of neighbours as one", () => expect(editDistance("chta", "chat")).toBe(1));
});
