import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  auditText,
  type Checkpoint,
  GENESIS,
  limitsOf,
  RETENTION_ACTION,
  verifyChain,
} from "./audit-chain.js";
import type { AuditEntry } from "./resources.js";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const verify = (rows: readonly AuditEntry[], checkpoints: readonly Checkpoint[] = []) =>
  verifyChain(rows, sha256, checkpoints);
const kinds = async (rows: readonly AuditEntry[], checkpoints: readonly Checkpoint[] = []) =>
  (await verify(rows, checkpoints)).faults.map(({ seq, kind }) => `${kind} ${seq}`);

type Content = Pick<AuditEntry, "action" | "subject" | "before" | "after">;

const content = (n: number): Content => ({
  action: "slo.set",
  subject: `pool/p-${n}`,
  before: null,
  after: { n },
});

/** `from` and `prevHash` for what follows a beginning that was dropped. */
function chainOf(
  contents: readonly (Content & { readonly at?: string })[],
  from = 1,
  prevHash = GENESIS,
): AuditEntry[] {
  const rows: AuditEntry[] = [];
  for (const [i, one] of contents.entries()) {
    const row = {
      at: new Date(1_764_000_000_000 + i * 1_000).toISOString(),
      ...one,
      seq: from + i,
      actor: "operator",
      keyId: null,
      address: "127.0.0.1",
      prevHash: rows.at(-1)?.hash ?? prevHash,
    };
    rows.push({ ...row, hash: sha256(auditText(row)) });
  }
  return rows;
}

const TEN = chainOf(Array.from({ length: 10 }, (_, n) => content(n)));
const at = (seq: number): AuditEntry => TEN[seq - 1]!;
const checkpointAt = (seq: number): Checkpoint => ({ seq, hash: at(seq).hash });
/** As somebody would who knows how rows are hashed: all that follows fits again. */
const rewritten = (from: number, change: Partial<Content>): AuditEntry[] =>
  chainOf(TEN.map((row, i) => (i === from - 1 ? { ...row, ...change } : row)));

describe("a chain", () => {
  test("that was left alone holds, and says where it ends", async () => {
    expect(await verify(TEN, [checkpointAt(4), checkpointAt(10)])).toEqual({
      rows: 10,
      first: 1,
      last: checkpointAt(10),
      faults: [],
      faultCount: 0,
      dropped: null,
      checked: [checkpointAt(4), checkpointAt(10)],
      unchecked: [],
    });
    expect((await verify([])).last).toBeNull();
  });

  test.each<[what: string, rows: AuditEntry[], faults: string[]]>([
    ["a changed value", TEN.with(3, { ...at(4), after: { n: 99 } }), ["changed 4"]],
    ["another actor", TEN.with(0, { ...at(1), actor: "nobody" }), ["changed 1"]],
    ["a microsecond", TEN.with(5, { ...at(6), at: at(6).at.replace("Z", "001Z") }), ["changed 6"]],
    ["a time that no clock gives", TEN.with(3, { ...at(4), at: "infinity" }), ["changed 4"]],
    [
      "text that reads like what was written",
      TEN.with(3, { ...at(4), stored: { after: '{"n":0,"n":3}' } }),
      ["changed 4"],
    ],
    [
      "a number beyond all",
      [
        ...TEN.toSpliced(3, 1),
        { ...at(4), seq: Number.MAX_SAFE_INTEGER, stored: { seq: "9223372036854775807" } },
      ],
      [`changed ${Number.MAX_SAFE_INTEGER}`, "missing 4"],
    ],
    ["a number below one", [{ ...at(4), seq: -3 }, ...TEN.toSpliced(3, 1)], ["changed -3", "missing 4"]],
    ["a removed row", TEN.toSpliced(4, 1), ["missing 5"]],
    ["three removed rows", TEN.toSpliced(4, 3), ["missing 5"]],
    ["the first row removed", TEN.slice(1), ["beginning 1"]],
    [
      "two rows that changed places",
      TEN.with(1, { ...at(3), seq: 2 }).with(2, { ...at(2), seq: 3 }),
      ["moved 2", "moved 3", "unlinked 3", "unlinked 4", "unlinked 2"],
    ],
    ["a row given twice", TEN.toSpliced(4, 0, at(4)), ["repeated 4"]],
    ["one row with its hash made anew", TEN.with(3, rewritten(4, { action: "x" })[3]!), ["unlinked 5"]],
  ])("with %s is found out, and the row named", async (_what, rows, faults) => {
    expect((await kinds(rows)).toSorted()).toEqual(faults.toSorted());
  });

  test("that was cut off or written anew to the end shows against a checkpoint, and only so", async () => {
    expect(await kinds(TEN.slice(0, 7))).toEqual([]);
    expect(await kinds(TEN.slice(0, 7), [checkpointAt(9)])).toEqual(["cut 9"]);
    expect(await kinds(rewritten(3, { action: "x" }))).toEqual([]);
    expect(await kinds(rewritten(3, { action: "x" }), [checkpointAt(8)])).toEqual(["rewritten 8"]);
    expect(await kinds([], [checkpointAt(8)])).toEqual(["cut 8"]);
  });
});

describe("a chain whose beginning was dropped", () => {
  const retention = (toSeq: number, lastHash: string): Content => ({
    action: RETENTION_ACTION,
    subject: "audit/2025-10",
    before: null,
    after: { rows: toSeq, fromSeq: 1, toSeq, lastHash },
  });
  const kept = (note: Content): AuditEntry[] => chainOf([content(11), note], 11, at(10).hash);

  test("holds where a row of the chain says what went, and tells what that leaves open", async () => {
    const rows = kept(retention(10, at(10).hash));
    const report = await verify(rows, [checkpointAt(4), checkpointAt(10)]);
    expect(report).toMatchObject({
      faults: [],
      checked: [checkpointAt(10)],
      unchecked: [checkpointAt(4)],
      dropped: { toSeq: 10, toldBy: 12, actor: "operator", subject: "audit/2025-10" },
    });
    expect(limitsOf(report)).toEqual([
      `rows 1 to 10 were dropped at ${rows[1]!.at} by operator (row 12, audit/2025-10): not checked`,
      "checkpoint 4 could not be checked: its row was dropped with the beginning",
      "after the newest checkpoint, row 10, nothing shows that the end was not cut off, or all of it written anew",
    ]);
  });

  test("is told against a checkpoint of its last row", async () => {
    const other = { seq: 10, hash: at(9).hash };
    expect(await kinds(kept(retention(10, at(10).hash)), [other])).toEqual(["rewritten 10"]);
  });

  test("does not where none does, or it says something else", async () => {
    expect(await kinds(kept(content(12)))).toEqual(["beginning 1"]);
    expect(await kinds(kept(retention(9, at(10).hash)))).toEqual(["beginning 1"]);
    expect(await kinds(kept(retention(10, at(9).hash)))).toEqual(["beginning 1"]);
  });

  test.each<[what: string, note: Content, faults: string[]]>([
    [
      "a month that was not over",
      { ...retention(10, at(10).hash), subject: "audit/2025-11" },
      ["beginning 1", "retention 12"],
    ],
    [
      "fewer rows than went",
      { ...retention(10, at(10).hash), after: { rows: 9, fromSeq: 1, toSeq: 10, lastHash: at(10).hash } },
      ["retention 12"],
    ],
    [
      "no month at all",
      { ...retention(10, at(10).hash), subject: "audit/all" },
      ["beginning 1", "retention 12"],
    ],
    ["nothing", { ...retention(10, at(10).hash), after: {} }, ["beginning 1", "retention 12"]],
  ])("does not where a row says that of %s", async (_what, note, faults) => {
    expect(await kinds(kept(note))).toEqual(faults);
  });

  test("does not where what stayed is of the month that went", async () => {
    const first = { ...content(11), at: "2025-10-31T10:00:00.000Z" };
    const whole = chainOf([first, retention(10, at(10).hash)], 11, at(10).hash);
    expect(await kinds(whole)).toEqual(["beginning 1"]);
  });
});

test("without a checkpoint no completeness is claimed", async () => {
  const open = "nothing shows that the end was not cut off, or all of it written anew";
  expect(limitsOf(await verify(TEN))).toEqual([`without a checkpoint ${open}`]);
  expect(limitsOf(await verify(TEN, [checkpointAt(7)]))).toEqual([
    `after the newest checkpoint, row 7, ${open}`,
  ]);
  expect(limitsOf(await verify(TEN, [checkpointAt(10)]))).toEqual([]);
});

test("whatever is changed, removed, added or moved in the middle is found", async () => {
  const seq = fc.integer({ min: 1, max: 9 });
  const field = fc.constantFrom("at", "actor", "keyId", "address", "action", "subject", "before", "after");
  const tampering = fc.oneof(
    fc.record({ seq, field, value: fc.jsonValue() }).map(({ seq, field, value }) => {
      const row = { ...at(seq), [field]: value } as AuditEntry;
      return JSON.stringify(row) === JSON.stringify(at(seq)) ? null : TEN.with(seq - 1, row);
    }),
    seq.map((gone) => TEN.toSpliced(gone - 1, 1)),
    fc.tuple(seq, seq).map(([a, b]) => (a === b ? null : TEN.with(a - 1, at(b)).with(b - 1, at(a)))),
    seq.map((twice) => TEN.toSpliced(twice - 1, 0, at(twice))),
  );
  await fc.assert(
    fc.asyncProperty(tampering, async (rows) => {
      if (rows !== null) expect((await verify(rows)).faultCount).toBeGreaterThan(0);
    }),
  );
});

test("of very many faults the first hundred are named and all are counted", async () => {
  const many = chainOf(Array.from({ length: 400 }, (_, n) => content(n))).map((row) => ({
    ...row,
    actor: "x",
  }));
  const report = await verify(many);
  expect(report.faults).toHaveLength(100);
  expect(report.faultCount).toBe(400);
});
