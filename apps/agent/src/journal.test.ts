import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { pino } from "pino";
import { Journal } from "./journal.js";

const log = pino({ level: "silent" });
const lastGood = { generation: 4, split: { prefillSmPct: 60, decodeSmPct: 40 }, kvQuotaPct: 90 };
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "fulcrum-journal-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("the journal", () => {
  test("gives back what was last written", async () => {
    const journal = await Journal.open(join(folder, "state"), "chat-0", log);
    void journal.update({ lastGood });
    void journal.update({ highestGeneration: 5 });
    await journal.update({ reservedSeq: 64 });
    const again = await Journal.open(join(folder, "state"), "chat-0", log);
    expect(again.state).toMatchObject({ lastGood, highestGeneration: 5, reservedSeq: 64, target: null });
  });

  test.each([
    ["half a file", '{"version":1,"instance":"cha'],
    ["another shape", '{"version":1,"instance":"chat-0"}'],
    ["nothing", ""],
    ["another instance's", null],
  ])("sets %s aside and starts anew", async (_what, text) => {
    const path = join(folder, "chat-0.json");
    if (text === null) {
      await (await Journal.open(folder, "chat-1", log)).update({ lastGood });
      await writeFile(path, await readFile(join(folder, "chat-1.json"), "utf8"));
    } else await writeFile(path, text);
    const journal = await Journal.open(folder, "chat-0", log);
    expect(journal.state).toMatchObject({ lastGood: null, highestGeneration: 0 });
    expect(await readdir(folder)).toContain("chat-0.json.corrupt");
    await journal.update({ highestGeneration: 1 });
    expect((await Journal.open(folder, "chat-0", log)).state.highestGeneration).toBe(1);
  });

  test("that cannot be written says so, goes on, and recovers", async () => {
    const blocked = join(folder, "file");
    await writeFile(blocked, "in the way");
    const journal = await Journal.open(blocked, "chat-0", log);
    await journal.update({ highestGeneration: 7 });
    expect(journal.unwritable).toBe(true);
    expect(journal.state.highestGeneration).toBe(7);
    await rm(blocked);
    await journal.flush();
    expect(journal.unwritable).toBe(false);
    expect((await Journal.open(blocked, "chat-0", log)).state.highestGeneration).toBe(7);
  });
});
