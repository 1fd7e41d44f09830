import { describe, expect, test } from "vitest";
import { pinInput } from "./holds.js";
import { poolInput } from "./pools.js";
import { approveInput } from "./proposals.js";
import { keyInput } from "./resources.js";

describe("words that others read in a terminal", () => {
  test.each(["why", "two\n\tlines", "日本 עברית 👍 ü"])("may be %j", (reason) => {
    expect(pinInput.safeParse({ ttlMs: 60_000, reason }).success).toBe(true);
  });

  test.each(["\u001b[2K\u001b[1A", "a\u0000b", "\u009b31m", "a\u007fb", "\u202eesrever", "a\u2066b", "a\rb"])(
    "may not be %j, and it is said why",
    (bad) => {
      for (const [schema, value, field] of [
        [pinInput, { ttlMs: 60_000, reason: `x${bad}x` }, "reason"],
        [approveInput, { comment: `x${bad}x` }, "comment"],
        [keyInput, { name: `x${bad}x`, role: "viewer" }, "name"],
      ] as const) {
        const issues = schema.safeParse(value).error?.issues ?? [];
        expect(issues.map(({ path, message }) => `${path.join(".")}: ${message}`)).toEqual([
          expect.stringContaining(`${field}: must hold no control characters`),
        ]);
      }
    },
  );

  test("a name is one line", () => {
    expect(keyInput.safeParse({ name: "a\nb", role: "viewer" }).error?.issues[0]?.message).toBe(
      "must be one line, without tabs",
    );
    expect(poolInput.shape.model.safeParse("a\tb").success).toBe(false);
  });
});
