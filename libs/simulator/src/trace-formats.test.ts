import { describe, expect, it } from "vitest";
import { parseAzureCsv, parseLengthsCsv, parseMooncakeJsonl } from "./trace-formats.js";

const HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens";

describe("parseAzureCsv", () => {
  it("reads CRLF lines and seven fraction digits, over a leap day", () => {
    const text = [HEADER, "2024-02-28 23:59:59.5000000,374,44", "2024-03-01 00:00:00.2500001,396,109", ""];
    const rows = parseAzureCsv(text.join("\r\n"), "a.csv");
    expect(rows[0]).toEqual({ atMs: 0, promptTokens: 374, outputTokens: 44 });
    expect(rows[1]?.atMs).toBeCloseTo(86_400_000 + 750, 1);
    expect(rows).toHaveLength(2);
  });

  it.each([
    ["", "a.csv: is empty"],
    [HEADER, "a.csv: has no rows"],
    ["TIMESTAMP,Tokens\n1,2", "a.csv:1: needs a column ContextTokens, has TIMESTAMP, Tokens"],
    [`${HEADER}\n2023-11-16 18:15:46,1`, "a.csv:2: has 2 cells, the header 3"],
    [
      `${HEADER}\n\nyesterday,1,1`,
      'a.csv:3: TIMESTAMP must look like 2023-11-16 18:15:46.6805900, got "yesterday"',
    ],
    [`${HEADER}\n2023-13-16 18:15:46,1,1`, "a.csv:2: TIMESTAMP is no time"],
    [`${HEADER}\n2023-11-16 18:15:46,1.5,1`, "a.csv:2: ContextTokens must be a whole number of at least 0"],
    [`${HEADER}\n2023-11-16 18:15:46,1,`, "a.csv:2: GeneratedTokens must be a whole number of at least 0"],
    [`${HEADER}\n2023-11-16 18:15:46,1,1\n2023-11-16 18:15:45,1,1`, "a.csv:3: lies before the row above it"],
  ])("refuses %j with file and line", (text, message) => {
    expect(() => parseAzureCsv(text, "a.csv")).toThrow(message);
  });
});

describe("parseMooncakeJsonl", () => {
  it("reads times from the first request on and ignores other fields", () => {
    const text = [
      '{"timestamp": 500, "input_length": 40, "output_length": 6, "hash_ids": [0]}',
      '{"timestamp": 750, "input_length": 41, "output_length": 7, "hash_ids": [1]}',
    ].join("\n");
    expect(parseMooncakeJsonl(text, "m.jsonl")).toEqual([
      { atMs: 0, promptTokens: 40, outputTokens: 6 },
      { atMs: 250, promptTokens: 41, outputTokens: 7 },
    ]);
  });

  it.each([
    ['{"timestamp": 0', "m.jsonl:1: is no JSON"],
    [
      '{"timestamp": 0, "input_length": 4}',
      "m.jsonl:1: output_length must be a whole number of at least 0, got nothing",
    ],
    ["7", "m.jsonl:1: must be a JSON object"],
  ])("refuses %j with file and line", (text, message) => {
    expect(() => parseMooncakeJsonl(text, "m.jsonl")).toThrow(message);
  });
});

describe("parseLengthsCsv", () => {
  it.each([
    [`${HEADER}\nXXX,42,285`],
    ["task,pred_tokens,est_prompt_tokens\nqasper,285,42"],
    ["prompt_tokens,output_tokens\n42,285"],
  ])("reads either set's columns from %j", (text) => {
    expect(parseLengthsCsv(text, "l.csv")).toEqual([{ promptTokens: 42, outputTokens: 285 }]);
  });

  it("says which columns it would take", () => {
    expect(() => parseLengthsCsv("a,b\n1,2", "l.csv")).toThrow(
      "l.csv:1: needs a column ContextTokens or est_prompt_tokens or prompt_tokens, has a, b",
    );
  });
});
