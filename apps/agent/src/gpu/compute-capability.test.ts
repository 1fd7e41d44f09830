import { expect, test } from "vitest";
import { parseCapability, smCountOf } from "./compute-capability.js";

test.each([
  ["H100 SXM", "9.0", 16_896, 132],
  ["A100", "8.0", 6_912, 108],
  ["L20", "8.9", 11_776, 92],
  ["RTX PRO 6000 Blackwell", "12.0", 24_064, 188],
  ["B200", "10.0", 18_944, 148],
  ["V100", "7.0", 5_120, 80],
])("%s has its vendor's number of SMs", (_name, capability, cores, sms) => {
  expect(smCountOf(parseCapability(capability), cores)).toBe(sms);
});

test.each([
  ["an architecture that nobody knows yet", "19.3", 16_896],
  ["a count that is no multiple", "9.0", 16_895],
  ["no count", "9.0", null],
  ["no cores", "9.0", 0],
  ["no capability", "nine", 16_896],
])("%s gives no number rather than a guess", (_what, capability, cores) => {
  expect(smCountOf(parseCapability(capability), cores)).toBeNull();
});
