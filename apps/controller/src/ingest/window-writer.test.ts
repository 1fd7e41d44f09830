import type { DataSource } from "typeorm";
import { expect, test } from "vitest";
import { ProblemError } from "../http/problem-error.js";
import { SloBounds } from "../budgets/slo-bounds.js";
import { WindowWriter } from "./window-writer.js";

test("past the limit of waiting reports one is refused at once, as unavailable", async () => {
  // A database that never answers, as one that hangs.
  const source = { query: () => new Promise(() => {}) } as unknown as DataSource;
  const writer = new WindowWriter(source, new SloBounds(source));
  // The first two are under way, each a group of its own; the others wait.
  const refused: unknown[] = [];
  for (let i = 0; i < 2 + 1_024; i += 1) writer.write([]).catch((error: unknown) => refused.push(error));
  const last = await writer.write([]).catch((error: unknown) => error);
  expect(last).toBeInstanceOf(ProblemError);
  expect(last).toMatchObject({ code: "unavailable", message: expect.stringContaining("1024") });
  expect(refused).toEqual([]);
});
