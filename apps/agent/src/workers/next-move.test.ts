import { describe, expect, test } from "vitest";
import { cuMask } from "./cu-mask.js";
import { nextMoves } from "./next-move.js";
import { hasBegun, isPrepared } from "./pending-state.js";
import { type RoleView, type WorkerView, smCountOf } from "./role-view.js";
import { NOW, view, worker } from "./testing/role-views.js";

const old = (change: Partial<WorkerView> = {}): WorkerView =>
  worker("old", { state: "iterating", turn: 7, took: true, ...change });
const fresh = (change: Partial<WorkerView> = {}): WorkerView =>
  worker("new", { generation: 2, smPct: 30, ...change });

const preparing = { generation: 2, smPct: 30, step: "preparing", at: null } as const;
const switching = { ...preparing, step: "switching" } as const;
const settled = {
  runs: { generation: 2, smPct: 30 },
  previous: { smPct: 50, untilMs: NOW + 1_000 },
} as const;

describe("the next move", () => {
  test.each<[string, RoleView, unknown]>([
    ["nothing runs: starts", view([]), [{ kind: "start", smPct: 50 }]],
    ["all is well: nothing", view([old()]), []],
    [
      "started and not connected: waits",
      view([old(), fresh({ state: "new", connected: false })], { pending: preparing }),
      [],
    ],
    [
      "connected: attaches",
      view([old(), fresh({ state: "new" })], { pending: preparing }),
      [{ kind: "attach" }],
    ],
    ["ready, not committed: waits", view([old(), fresh()], { pending: preparing }), []],
    [
      "committed: arms the new one first",
      view([old(), fresh()], { pending: switching }),
      [{ kind: "iterate", worker: "new", turn: 8, take: false }],
    ],
    [
      "armed: tells the old one",
      view([old(), fresh({ state: "armed", turn: 8 })], { pending: switching }),
      [{ kind: "hand_over", workers: [{ worker: "old", turn: 8 }], at: null }],
    ],
    [
      "at an agreed iteration",
      view([old(), fresh({ state: "armed", turn: 8 })], { pending: { ...switching, at: 99 } }),
      [{ kind: "hand_over", at: 99 }],
    ],
    [
      "told: waits",
      view([old({ inFlight: "hand_over" }), fresh({ state: "armed", turn: 8 })], { pending: switching }),
      [],
    ],
    [
      "taken back: the old one is told to stay, the armed one waits until it has answered",
      view([old({ inFlight: "hand_over" }), fresh({ state: "armed", turn: 8 })]),
      [{ kind: "keep", worker: "old" }],
    ],
    [
      "taken back, not answered yet: waits",
      view([old({ inFlight: "keep" }), fresh({ state: "armed", turn: 8 })]),
      [],
    ],
    [
      "taken back: then the armed one goes",
      view([old(), fresh({ state: "armed", turn: 8 })]),
      [{ kind: "retire", worker: "new", step: "drain" }],
    ],
    [
      "taken back, and kept for later: disarmed",
      view([old(), fresh({ state: "armed", turn: 8, standby: true })], { standbyPcts: [30] }),
      [{ kind: "keep", worker: "new" }],
    ],
    [
      "taken back too late: the turn is passed back",
      view([old({ state: "handed_over", turn: 8 }), fresh({ state: "iterating", turn: 8 })]),
      [{ kind: "iterate", worker: "old", turn: 9, take: false }],
    ],
    [
      "handed over, and the new one not heard yet: it is not let go",
      view([old({ state: "handed_over", turn: 8 }), fresh({ state: "armed", turn: 8 })]),
      [{ kind: "iterate", worker: "old", turn: 9, take: true }],
    ],
    [
      "committed, and this agent has not heard the new one yet: what was told takes its course",
      view([old({ state: "handing_over", turn: 8 }), fresh({ state: null, connected: false })], {
        pending: { ...switching, at: 99 },
      }),
      [],
    ],
    [
      "told by an agent before this one: tells again",
      view([old({ state: "handing_over", turn: 8 }), fresh({ state: "armed", turn: 8 })], {
        pending: switching,
      }),
      [{ kind: "hand_over", workers: [{ worker: "old", turn: 8 }] }],
    ],
    [
      "old one died before it handed over: the new one makes the turn that it is armed for",
      view([fresh({ state: "armed", turn: 8 })], { pending: switching }),
      [{ kind: "iterate", worker: "new", turn: 8, take: true }],
    ],
    [
      "old one not heard yet by this agent: nobody takes",
      view([old({ state: null, connected: false }), fresh({ state: "armed", turn: 8 })], {
        pending: switching,
      }),
      [],
    ],
    [
      "old one is cut off: waits for it",
      view([old({ connected: false }), fresh({ state: "armed", turn: 8 })], { pending: switching }),
      [],
    ],
    [
      "new one died before the switch: gives up",
      view([old(), fresh({ alive: false })], { pending: preparing }),
      [{ kind: "fail", code: "worker_died" }],
    ],
    [
      "new one died while armed: gives up",
      view([old(), fresh({ alive: false, state: "armed", turn: 8 })], { pending: switching }),
      [{ kind: "fail", code: "worker_died" }],
    ],
    [
      "new one died after the switch: the warm one takes over, a successor is started",
      view([old({ state: "handed_over", turn: 8 })], settled),
      [
        { kind: "iterate", worker: "old", turn: 9, take: true },
        { kind: "start", smPct: 30, generation: 2 },
      ],
    ],
    [
      "warm time over: drains",
      view([old({ state: "handed_over" }), fresh({ state: "iterating", turn: 8 })], { runs: settled.runs }),
      [{ kind: "retire", worker: "old", step: "drain" }],
    ],
    [
      "drained: leaves",
      view(
        [
          old({ state: "draining", retiring: { step: "drain", sinceMs: NOW - 10 } }),
          fresh({ state: "iterating" }),
        ],
        { runs: settled.runs },
      ),
      [{ kind: "retire", step: "leave" }],
    ],
    [
      "does not leave: SIGTERM",
      view(
        [
          old({ state: "draining", retiring: { step: "leave", sinceMs: NOW - 101 } }),
          fresh({ state: "iterating" }),
        ],
        { runs: settled.runs },
      ),
      [{ kind: "retire", step: "sigterm" }],
    ],
    [
      "does not end: terminate_client",
      view(
        [
          old({ retiring: { step: "sigterm", sinceMs: NOW - 101 }, state: "draining" }),
          fresh({ state: "iterating" }),
        ],
        { runs: settled.runs },
      ),
      [{ kind: "retire", step: "terminate_client" }],
    ],
    [
      "still there: SIGKILL",
      view(
        [
          old({ retiring: { step: "terminate_client", sinceMs: NOW - 101 }, state: "draining" }),
          fresh({ state: "iterating" }),
        ],
        { runs: settled.runs },
      ),
      [{ kind: "retire", step: "sigkill" }],
    ],
    [
      "without a daemon no terminate_client",
      view(
        [
          old({ retiring: { step: "sigterm", sinceMs: NOW - 101 }, state: "draining" }),
          fresh({ state: "iterating" }),
        ],
        { runs: settled.runs, canTerminateClient: false },
      ),
      [{ kind: "retire", step: "sigkill" }],
    ],
    [
      "warm one in the way of a preparation: goes first, nothing is started",
      view([old({ state: "handed_over" }), fresh({ state: "iterating" })], {
        ...settled,
        pending: { generation: 3, smPct: 70, step: "preparing", at: null },
      }),
      [{ kind: "retire", worker: "old", step: "drain" }],
    ],
    [
      "no cap: condemned",
      view([old(), fresh({ smCount: 108 })], { pending: preparing }),
      [{ kind: "condemn", worker: "new", code: "uncapped" }],
    ],
    [
      "hangs with the turn: condemned",
      view([old({ heardAtMs: NOW - 10_001 })]),
      [{ kind: "condemn", code: "hung" }],
    ],
    [
      "hung, still alive: nobody takes its turn",
      view(
        [
          old({ fault: { code: "hung", message: "" }, retiring: { step: "leave", sinceMs: NOW } }),
          fresh({ state: "handed_over" }),
        ],
        { previous: { smPct: 30, untilMs: NOW + 1 } },
      ),
      [],
    ],
    [
      "unchanged share: nothing is started for it",
      view([old()], { pending: { generation: 2, smPct: 50, step: "preparing", at: null } }),
      [],
    ],
    [
      "its turn was taken by somebody else: waits before it takes it again",
      view([old({ state: "handed_over" })], { takeNotBeforeMs: NOW + 1 }),
      [],
    ],
    [
      "and takes it then",
      view([old({ state: "handed_over" })], { takeNotBeforeMs: NOW }),
      [{ kind: "iterate", worker: "old", turn: 8, take: true }],
    ],
    ["after a fault: pauses before it starts anew", view([], { startNotBeforeMs: NOW + 1 }), []],
  ])("%s", (_what, seen, moves) => {
    expect(nextMoves(seen)).toMatchObject(moves as object);
    expect(nextMoves(seen)).toHaveLength((moves as unknown[]).length);
  });

  test("is prepared only when nobody is under an earlier order to hand over", () => {
    const seen = (state: WorkerView["state"]) => view([old({ state }), fresh()], { pending: preparing });
    expect([isPrepared(seen("iterating")), isPrepared(seen("handing_over")), isPrepared(seen(null))]).toEqual(
      [true, false, false],
    );
  });

  test("a switch has begun as soon as a rank has left what it ran", () => {
    const seen = (before: Partial<WorkerView>, after: Partial<WorkerView>) =>
      hasBegun(view([old(before), fresh(after)], { pending: switching }));
    expect(seen({}, { state: "armed" })).toBe(false);
    expect(seen({ state: "handing_over" }, { state: "armed" })).toBe(false);
    expect(seen({ state: "handed_over" }, { state: "armed" })).toBe(true);
    expect(seen({ state: "handed_over" }, { state: "iterating" })).toBe(true);
  });
});

test.each([
  [188, 2, 50, 94],
  [188, 2, 25, 46],
  [188, 2, 75, 140],
  [108, 2, 1, 2],
])(
  "of %i SMs in TPCs of %i a worker under %f %% sees %i (NVIDIA's own figures)",
  (smCount, smPerTpc, pct, sms) => {
    expect(smCountOf(pct, { smCount, smPerTpc })).toBe(sms);
  },
);

test("CU masks of two roles meet only where the shares sum to more than the device", () => {
  const device = { smCount: 104, smPerTpc: 1 };
  expect([cuMask("prefill", 60, 0, device), cuMask("decode", 40, 0, device)]).toEqual(["0:0-61", "0:63-103"]);
  expect(cuMask("decode", 100, 1, device)).toBe("1:0-103");
});
