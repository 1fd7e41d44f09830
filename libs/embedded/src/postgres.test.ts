import { tmpdir } from "node:os";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { startPostgres } from "./postgres.js";

describe("bad options are refused before anything is touched, by name and bound", () => {
  const dataDir = join(tmpdir(), "fulcrum-never-made");
  test.each([
    [{ dataDir: "" }, /dataDir must be the path/],
    [{ dataDir, port: 65_536 }, /port must be .* 0 to 65535.* got 65536/],
    [{ dataDir, port: -1 }, /port must be .* got -1/],
    [{ dataDir, port: 80.5 }, /port must be .* got 80.5/],
    [{ dataDir, database: 'x"; DROP' }, /database must be 1 to 63 of/],
    [{ dataDir, database: "1st" }, /database must be 1 to 63 of/],
    [{ dataDir, database: "d".repeat(64) }, /database must be 1 to 63 of/],
    [{ dataDir, password: "" }, /password must be 1 to 100/],
    [{ dataDir, password: "two\nlines" }, /password must be 1 to 100/],
  ])("%o", async (options, message) => {
    await expect(startPostgres(options)).rejects.toThrow(message);
  });
});
