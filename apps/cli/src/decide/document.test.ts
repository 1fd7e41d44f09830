/** What docs/decide-protocol.md shows, done. */
import { readFileSync } from "node:fs";
import { PassThrough, Readable } from "node:stream";
import { expect, test } from "vitest";
import { runDecide } from "./run-decide.js";
import type { DecideOptions } from "./run-decide.js";

const DOCUMENT = readFileSync(new URL("../../../../docs/decide-protocol.md", import.meta.url), "utf8");
const blocks = [...DOCUMENT.matchAll(/```(\w+)\n([\s\S]*?)```/g)].map(([, kind, text]) => ({
  kind,
  text: text!,
}));

async function drive(lines: string, options: DecideOptions) {
  const output = new PassThrough();
  const notes: string[] = [];
  await runDecide(Readable.from([lines]), output, { ...options, note: (note) => notes.push(note) });
  output.end();
  let written = "";
  for await (const chunk of output) written += String(chunk);
  return {
    answers: written
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line)),
    notes,
  };
}

test("its session to try gives the answers that it names", async () => {
  const session = blocks.find(({ text }) => text.includes("<<'LINES'"))?.text ?? "";
  const [, params = "", lines = ""] = /--params '(.*)' <<'LINES'\n([\s\S]*)LINES\n/.exec(session) ?? [];
  const { answers, notes } = await drive(lines, { policy: "static", params: JSON.parse(params) });
  expect(notes).toEqual([]);
  expect(answers).toMatchObject([{ prefillSmPct: 70, decodeSmPct: 60 }, { reason: "AT_TARGET" }]);
  expect(answers).toHaveLength(2);
});

test("its hello is understood as it stands, by every policy", async () => {
  const hello = blocks.find(({ kind, text }) => kind === "json" && text.includes('"hello"'))?.text ?? "";
  const line = `${JSON.stringify(JSON.parse(hello))}\n`;
  for (const policy of ["search", "feedback", "semi-pd", "static"] as const) {
    expect((await drive(line, { policy })).notes).toEqual([]);
  }
});

test("every field that is read is in it", () => {
  const sources = ["protocol.ts", "read-work.ts"].map((file) =>
    readFileSync(new URL(file, import.meta.url), "utf8"),
  );
  const parts = "line|arrivals|prefill|decode|queue|kv|gpu|limits|slo";
  const read = sources.flatMap((source) => [
    ...source.matchAll(new RegExp(`\\b(?:${parts})\\.([a-z]\\w*)\\b(?!\\()`, "g")),
  ]);
  // Not fields of a line: lengths, and an SLO and bounds that were read already.
  const internal = new Set(["boundMs", "length"]);
  const names = new Set(read.map(([, name]) => name!).filter((name) => !internal.has(name)));
  expect(names.size).toBeGreaterThan(35);
  expect([...names].filter((name) => !new RegExp(`\\b${name}\\b`).test(DOCUMENT))).toEqual([]);
});
