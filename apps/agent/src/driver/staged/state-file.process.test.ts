import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { z } from "zod";
import { StateFile } from "./state-file.js";

test("a driver's state that could not be read again is refused by name, on disk and in memory", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fulcrum-state-"));
  try {
    const shape = z.strictObject({ pct: z.number().max(100) });
    const file = new StateFile(join(folder, "s.json"), shape, { pct: 1 });
    await file.save({ pct: 60 });
    for (const keeps of [file.save({ pct: 756.82 }), file.keep({ pct: 756.82 })]) {
      await expect(keeps).rejects.toMatchObject({
        code: "out_of_bounds",
        message: expect.stringMatching(/^pct: .*<=100/) as string,
      });
    }
    expect(await file.load()).toEqual({ pct: 60 });
    expect(JSON.parse(await readFile(file.path, "utf8"))).toEqual({ pct: 60 });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
