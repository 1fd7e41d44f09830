import { describe, expect, test } from "vitest";
import { parseEnv, renderEnv } from "./env-file.js";

const split = (prefillSmPct: number, decodeSmPct: number) => ({ prefillSmPct, decodeSmPct });

describe("Semi-PD's environment file", () => {
  test.each<[string, string, ReturnType<typeof parseEnv>]>([
    ["that is empty says Semi-PD's defaults", "", { generation: 0, split: split(80, 100) }],
    ["that the agent wrote", renderEnv(7, split(60, 40)), { generation: 7, split: split(60, 40) }],
    [
      "that a person wrote, with quotes and another system's line ends",
      "export SEMI_PD_PREFILL_SM_PERCENTILE='60'\r\nSEMI_PD_DECODE_SM_PERCENTILE=\"40\"\r\nOTHER=x y\r\n",
      { generation: 0, split: split(60, 40) },
    ],
    ["with a comment", "# SEMI_PD_PREFILL_SM_PERCENTILE=x\n", { generation: 0, split: split(80, 100) }],
  ])("%s", (_what, text, said) => {
    expect(parseEnv(text)).toEqual(said);
  });

  test.each(["garbage", "0", "101", "60 # x", "'60", "-5", "60.5", ""])(
    "with the share %j is refused by name, and not taken for the default",
    (value) => {
      expect(parseEnv(`SEMI_PD_PREFILL_SM_PERCENTILE=${value}\n`)).toEqual({
        problem: `SEMI_PD_PREFILL_SM_PERCENTILE must be a whole number, 1..100, got ${value}`,
      });
    },
  );

  test("with a generation that leaves no room above it is refused", () => {
    expect(parseEnv("FULCRUM_GENERATION=2147483647\n")).toEqual({
      problem: "FULCRUM_GENERATION must be a whole number, 0..2000000000, got 2147483647",
    });
  });
});
