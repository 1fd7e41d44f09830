import { describe, expect, test } from "vitest";

import { etagOf, versionOf } from "./etag.js";
import { ProblemError } from "./problem-error.js";

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof ProblemError ? error.code : String(error);
  }
  return "nothing thrown";
}

test.each([1, 42, 999_999_999])("an ETag of version %i reads back as it", (version) => {
  expect(versionOf(etagOf(version), "required")).toBe(version);
});

describe("versionOf", () => {
  test.each<[string, number | null]>([
    ['"3"', 3],
    [' "3" ', 3],
    ['W/"3"', 3],
    ["*", null],
  ])("%s names version %s", (given, expected) => {
    expect(versionOf(given, "required")).toBe(expected);
    expect(versionOf(given, "optional")).toBe(expected);
  });
  test.each([undefined, ""])(
    "nothing (%o) is 428 where it is required, and any version where not",
    (given) => {
      expect(codeOf(() => versionOf(given, "required"))).toBe("precondition_required");
      expect(versionOf(given, "optional")).toBeNull();
    },
  );
  test.each(["3", '"x"', '"-3"', '"3.5"', '"1", "2"', '"1234567890"', "**", 'w/"3"'])(
    "%s is 400",
    (given) => {
      expect(codeOf(() => versionOf(given, "required"))).toBe("invalid_request");
      expect(codeOf(() => versionOf(given, "optional"))).toBe("invalid_request");
    },
  );
});
