import { describe, expect, it } from "vitest";
import { parseOptions } from "./options.js";

const NOW = 1_800_000_000_000;
const parse = (...args: string[]) => parseOptions(["--socket", "/run/e.sock", ...args], NOW);

describe("parseOptions", () => {
  it("starts with the bundled load, uncontrolled, at wall-clock speed", () => {
    expect(parse()).toMatchObject({
      host: "127.0.0.1",
      port: 0,
      load: { kind: "workload", workload: "chat-and-documents" },
      speed: 1,
      startAtMs: null,
      initial: { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 100 },
    });
    expect(parse("--help")).toBe("help");
  });

  it("takes lengths with a rate, and traces with a start", () => {
    expect(parse("--trace", "l.csv", "--trace-format", "lengths", "--rate", "12")).toMatchObject({
      load: { kind: "trace", file: "l.csv", format: "lengths", ratePerS: 12 },
    });
    expect(parse("--trace", "a.csv", "--trace-format", "azure", "--trace-start-s", "60")).toMatchObject({
      load: { format: "azure", ratePerS: null },
      traceStartMs: 60_000,
    });
  });

  it.each([
    [["--speed", "0"], "--speed must be a number 0.01..1000, got 0"],
    [["--port", "70000"], "--port must be a whole number 0..65535, got 70000"],
    [["--seed", "1.5"], "--seed must be a whole number 0..4294967295, got 1.5"],
    [["--initial", "100,100"], "--initial must be X,Y,Q, got 100,100"],
    [["--initial", "100,3,100"], "--initial must be a number 5..100, got 3"],
    [["--prepare-ms", ""], "--prepare-ms must be a number 0..3600000, got "],
    [["--socket", `/${"x".repeat(103)}`], "--socket must be 1..103 bytes long, got 104"],
    [["--start-at", "5"], "--start-at must be a number 1799913600000..1800086400000, got 5"],
    [["--rate", "5"], "--trace-format and --rate need --trace FILE"],
    [["--trace", "a", "--workload", "b"], "--workload and --trace exclude each other"],
    [["--trace", "a"], "--trace-format must be azure, mooncake or lengths, got nothing"],
    [["--trace", "a", "--trace-format", "lengths"], "--trace-format lengths needs --rate"],
    [["--trace", "a", "--trace-format", "azure", "--rate", "5"], "--rate is for lengths"],
    [["--tempo", "5"], "Unknown option '--tempo'"],
  ])("refuses %j by flag and bound", (args, message) => {
    expect(() => parse(...args)).toThrow(message);
  });

  it("needs a socket", () => {
    expect(() => parseOptions([], NOW)).toThrow("--socket PATH is required");
  });
});
