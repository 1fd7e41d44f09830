import { describe, expect, test } from "vitest";
import { type Action, nextAction, type Step } from "./apply.js";

const DEADLINE = 100;
type Prepared = { generation: number; ready: boolean } | null;

function act(of: {
  step?: Step;
  runs: number;
  phase?: "steady" | "preparing" | "switching";
  prepared?: Prepared;
  late?: boolean;
  attempt?: number;
  gaveUp?: number;
  /** Of a group: null is to wait. */
  commit?: { switchAt: { prefill: number; decode: number } | null } | null;
}): string {
  const action: Action = nextAction(
    { generation: 5, attempt: of.attempt ?? 1, ...("commit" in of ? { commit: of.commit } : {}) },
    { step: of.step ?? "waiting", deadlineAtMs: DEADLINE },
    {
      generation: of.runs,
      phase: of.phase ?? "steady",
      prepared: of.prepared ?? null,
      failure: gaveUp(of.gaveUp),
    },
    of.late ? DEADLINE + 1 : DEADLINE,
  );
  if (action.kind === "fail") {
    return `fail ${action.failure.code}${action.failure.retryable ? "" : " for good"}`;
  }
  if (action.kind === "commit" && action.switchAt) {
    return `commit at ${action.switchAt.prefill}/${action.switchAt.decode}`;
  }
  return action.kind === "abort" ? `abort ${action.generation}` : action.kind;
}

/** What the driver says of a generation that it gave up by itself. */
function gaveUp(generation: number | undefined) {
  return generation === undefined
    ? null
    : { generation, code: "worker_died", message: "in attach", retryable: true };
}

describe("the next action towards generation 5", () => {
  test.each<[string, Parameters<typeof act>[0], string]>([
    ["an older generation runs", { runs: 4 }, "prepare"],
    ["the engine began anew", { runs: 0 }, "prepare"],
    [
      "it is being prepared",
      { runs: 4, phase: "preparing", prepared: { generation: 5, ready: false } },
      "wait",
    ],
    ["it is prepared", { runs: 4, phase: "preparing", prepared: { generation: 5, ready: true } }, "commit"],
    [
      "an earlier life of the agent prepared it",
      { runs: 4, step: "waiting", prepared: { generation: 5, ready: true } },
      "commit",
    ],
    ["a superseded one is prepared", { runs: 3, prepared: { generation: 4, ready: true } }, "abort 4"],
    ["one nobody asked for is prepared", { runs: 3, prepared: { generation: 9, ready: false } }, "abort 9"],
    ["the workers are switching", { runs: 4, step: "switching", phase: "switching" }, "wait"],
    ["a superseded switch is under way", { runs: 3, step: "waiting", phase: "switching" }, "wait"],
    ["it runs", { runs: 5, step: "switching" }, "verify"],
    ["it runs already", { runs: 5, step: "waiting" }, "verify"],
    ["it runs, late", { runs: 5, step: "switching", late: true }, "verify"],
    ["a newer one runs", { runs: 6 }, "fail engine_ahead for good"],
    [
      "the preparation is late",
      { runs: 4, prepared: { generation: 5, ready: false }, late: true },
      "fail prepare_timeout",
    ],
    ["the preparation went away", { runs: 4, step: "preparing" }, "fail prepare_lost"],
    [
      "the driver says why the preparation went away",
      { runs: 4, step: "preparing", gaveUp: 5 },
      "fail worker_died",
    ],
    ["the driver says why the switch went away", { runs: 4, step: "armed", gaveUp: 5 }, "fail worker_died"],
    ["the driver gave an earlier attempt up", { runs: 4, step: "waiting", gaveUp: 5 }, "prepare"],
    [
      "the driver gave an earlier generation up",
      { runs: 4, step: "preparing", gaveUp: 4 },
      "fail prepare_lost",
    ],
    ["the preparation never began", { runs: 4, step: "waiting", late: true }, "fail prepare_timeout"],
    [
      "the switch is late",
      { runs: 4, step: "switching", phase: "switching", late: true },
      "fail switch_timeout",
    ],
    ["the switch went away", { runs: 4, step: "switching" }, "fail switch_lost"],
    [
      "the answer to the commit was lost before the engine heard it",
      { runs: 4, step: "switching", prepared: { generation: 5, ready: true } },
      "commit",
    ],
  ])("%s", (_what, given, want) => {
    expect(act(given)).toBe(want);
  });
});

describe("the next action towards generation 5 of a group", () => {
  const ready = { runs: 4, phase: "preparing", prepared: { generation: 5, ready: true } } as const;
  const open = { switchAt: { prefill: 30, decode: 70 } };
  test.each<[string, Parameters<typeof act>[0], string]>([
    ["nothing is prepared yet", { runs: 4, commit: null }, "prepare"],
    ["it is prepared", { ...ready, step: "preparing", commit: null }, "ready"],
    ["it was told and waits", { ...ready, step: "ready", commit: null }, "ready"],
    ["an earlier life of the agent prepared it", { ...ready, step: "waiting", commit: null }, "ready"],
    [
      "an earlier attempt prepared it, and may have armed it",
      { ...ready, step: "waiting", attempt: 2, commit: null },
      "abort 5",
    ],
    ["this attempt prepared it", { ...ready, step: "preparing", attempt: 2, commit: null }, "ready"],
    ["all are ready", { ...ready, step: "ready", commit: open }, "commit at 30/70"],
    ["all are ready, and no rank counts", { ...ready, step: "ready", commit: { switchAt: null } }, "commit"],
    [
      "a new life of the agent finds all ready",
      { ...ready, step: "waiting", commit: open },
      "commit at 30/70",
    ],
    ["the engine has the iteration", { ...ready, step: "armed", commit: open }, "wait"],
    ["one of its workers is over", { runs: 4, phase: "switching", step: "armed", commit: open }, "wait"],
    ["nobody follows the group any more", { ...ready, step: "ready" }, "commit"],
    [
      "the preparation went away while the others were waited for",
      { runs: 4, step: "ready", commit: null },
      "fail prepare_lost",
    ],
    ["the engine dropped what was armed", { runs: 4, step: "armed", commit: open }, "fail switch_lost"],
    ["it runs before the word was heard", { runs: 5, step: "waiting", attempt: 2, commit: null }, "verify"],
  ])("%s", (_what, given, want) => {
    expect(act(given)).toBe(want);
  });
});
