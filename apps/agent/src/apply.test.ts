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
}): string {
  const action: Action = nextAction(
    { generation: 5 },
    { step: of.step ?? "waiting", deadlineAtMs: DEADLINE },
    { generation: of.runs, phase: of.phase ?? "steady", prepared: of.prepared ?? null },
    of.late ? DEADLINE + 1 : DEADLINE,
  );
  if (action.kind === "fail") {
    return `fail ${action.failure.code}${action.failure.retryable ? "" : " for good"}`;
  }
  return action.kind === "abort" ? `abort ${action.generation}` : action.kind;
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
