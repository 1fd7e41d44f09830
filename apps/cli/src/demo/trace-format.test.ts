import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { guessTraceFormat } from "./trace-format.js";

const folder = mkdtempSync(join(tmpdir(), "fulcrum-trace-"));
afterAll(() => rmSync(folder, { recursive: true }));

it.each([
  ["azure", "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n"],
  ["lengths", "TIMESTAMP,ContextTokens,GeneratedTokens\nXXX,374,44\n"],
  ["lengths", "task,lang,length_native,answer_tokens,pred_tokens,est_prompt_tokens\nqa,en,1,2,3,4\n"],
  ["mooncake", '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [1]}\n'],
  [null, "a,b\n1,2\n"],
  [null, ""],
])("%s", (want, text) => {
  const file = join(folder, "trace");
  writeFileSync(file, text);
  expect(guessTraceFormat(file)).toBe(want);
});
