/** Ranks that compute together: what each is told, and when it is given up. */
import { describe, expect, test } from "vitest";
import { nextMoves } from "./next-move.js";
import { partedRanks } from "./pending-state.js";
import type { RoleView, WorkerView } from "./role-view.js";
import { NOW, view, worker } from "./testing/role-views.js";

const switching = { generation: 2, smPct: 30, step: "switching", at: null } as const;
const AGREED = {
  at: 300,
  turns: new Map([
    [0, 8],
    [1, 4],
  ]),
  sinceMs: NOW - 1_000,
};

/** Two ranks: the old worker of each, and the one that is armed to follow it. */
function pair(
  change: Readonly<Record<"old0" | "old1" | "new0" | "new1", Partial<WorkerView>>>,
  of: Partial<RoleView> = {},
): RoleView {
  const old = { state: "iterating", iteration: 250, took: true } as const;
  const fresh = { generation: 2, smPct: 30, state: "armed" } as const;
  return view(
    [
      worker("old0", { ...old, turn: 7, ...change.old0 }),
      worker("old1", { ...old, rank: 1, turn: 3, ...change.old1 }),
      worker("new0", { ...fresh, turn: 8, ...change.new0 }),
      worker("new1", { ...fresh, rank: 1, turn: 4, ...change.new1 }),
    ],
    { ranks: [0, 1], pending: switching, ...of },
  );
}
const none = { old0: {}, old1: {}, new0: {}, new1: {} };

describe("ranks of a group", () => {
  test("are told to hand over together, or not at all", () => {
    expect(nextMoves(pair({ ...none, new1: { state: "ready", turn: null } }))).toEqual([
      { kind: "iterate", worker: "new1", turn: 4, take: false },
    ]);
    expect(nextMoves(pair(none))).toEqual([
      {
        kind: "hand_over",
        at: "agree",
        workers: [
          { worker: "old0", rank: 0, turn: 8 },
          { worker: "old1", rank: 1, turn: 4 },
        ],
      },
    ]);
  });

  test.each<[string, RoleView, readonly string[]]>([
    ["one was cut off before it heard", pair({ ...none, old0: { inFlight: "hand_over" } }), ["old1"]],
    [
      "one has handed over",
      pair({ ...none, old0: { state: "handed_over", turn: 8 }, new0: { state: "iterating" } }),
      ["old1"],
    ],
    ["one is away still", pair({ ...none, old0: { connected: false } }), ["old1"]],
    [
      "an agent before this one told one",
      pair({ ...none, old0: { state: "handing_over", turn: 8 } }),
      ["old0", "old1"],
    ],
    ["nobody has heard yet", pair(none), ["old0", "old1"]],
  ])("%s: the others are told the iteration that is written down", (_what, seen, told) => {
    const [move] = nextMoves({ ...seen, agreed: AGREED });
    expect(move).toMatchObject({ kind: "hand_over", at: 300 });
    expect(move?.kind === "hand_over" && move.workers.map((one) => one.worker)).toEqual(told);
  });

  test("while an iteration is being agreed on nobody is told another", () => {
    expect(nextMoves(pair({ ...none, old0: { inFlight: "hand_over" } }))).toEqual([]);
  });

  test("what was agreed on for other turns does not count", () => {
    const agreed = {
      ...AGREED,
      turns: new Map([
        [0, 6],
        [1, 2],
      ]),
    };
    expect(nextMoves({ ...pair(none), agreed })).toMatchObject([{ kind: "hand_over", at: "agree" }]);
  });
});

describe("a rank that stands still before the agreed iteration", () => {
  const told = { inFlight: "hand_over", iteration: 290 } as const;
  const still = { ...told, iteratedAtMs: NOW - 8_001 };
  const long = { ...AGREED, sinceMs: NOW - 8_001 };

  test("for longer than a hand-over may take: the switch is given up, by rank and iteration", () => {
    const seen = pair({ ...none, old0: told, old1: still }, { agreed: long });
    const [move, ...others] = nextMoves(seen);
    expect(others).toEqual([]);
    expect(move).toMatchObject({ kind: "fail", code: "iteration_not_reached" });
    expect(move?.kind === "fail" && move.message).toContain("rank 1 (old1) stands still at iteration 290");
  });

  test.each<[string, RoleView]>([
    ["it has just gone on", pair({ ...none, old0: told, old1: told }, { agreed: long })],
    ["it was agreed on just now", pair({ ...none, old0: told, old1: still }, { agreed: AGREED })],
    [
      "it is not heard",
      pair({ ...none, old0: told, old1: { ...still, connected: false } }, { agreed: long }),
    ],
    [
      "the controller named it, for ranks elsewhere too",
      pair({ ...none, old0: told, old1: still }, { agreed: long, pending: { ...switching, at: 300 } }),
    ],
  ])("is waited for while %s", (_what, seen) => {
    expect(nextMoves(seen)).toEqual([]);
  });
});

test.each<[string, Parameters<typeof pair>[0], string | null]>([
  [
    "one iteration",
    {
      ...none,
      old0: { state: "handed_over", turn: 8, iteration: 289 },
      old1: { state: "handed_over", turn: 4, iteration: 289 },
    },
    null,
  ],
  [
    "two iterations",
    {
      ...none,
      old0: { state: "handed_over", turn: 8, iteration: 289 },
      old1: { state: "handed_over", turn: 4, iteration: 288 },
    },
    "rank 0 handed over after iteration 289, rank 1 handed over after iteration 288",
  ],
  [
    "two iterations, and one old worker was not heard",
    {
      old0: { alive: false },
      old1: { state: "handed_over", turn: 4, iteration: 288 },
      new0: { began: { turn: 8, iteration: 290 } },
      new1: { began: { turn: 4, iteration: 289 } },
    },
    "rank 0 began with iteration 290, rank 1 began with iteration 289",
  ],
])("ranks that left off after %s", (_what, change, words) => {
  const iterating = { state: "iterating" } as const;
  const seen = pair({
    ...change,
    new0: { ...change.new0, ...iterating },
    new1: { ...change.new1, ...iterating },
  });
  expect(partedRanks(seen)).toBe(words);
});
