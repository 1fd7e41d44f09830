/** Whose turn it is: arming, handing over, taking that back. */
import { type Candidate, pause } from "./candidate.js";
import {
  AHEAD_ITERATIONS,
  FAR_ITERATIONS,
  FIRST_ITERATION_MS,
  PROGRESS_MS,
  STILL_MS,
  type Rule,
  type Workers,
  handOver,
  onlyGrow,
  same,
  stays,
} from "./checks.js";

export function turnRules(
  of: (name: string) => Candidate,
  ready: (workers: Workers, name: "b" | "c") => Promise<Candidate>,
): readonly Rule[] {
  return [
    {
      name: "does not iterate before it is given a turn",
      check: async () => stays(of("a"), 0),
    },
    {
      name: "takes the first turn and iterates",
      check: async () => {
        await of("a").accept({ op: "iterate", turn: 1, take: true });
        const { turn } = await of("a").event("iterating", FIRST_ITERATION_MS);
        same("event iterating", { turn }, { turn: 1 });
        await of("a").accept({ op: "iterate", turn: 1, take: true });
      },
    },
    {
      name: "says progress about once a second, with numbers that only grow",
      check: async () => {
        const a = of("a");
        await a.event("progress", PROGRESS_MS);
        const from = a.events.length;
        await a.event("progress", PROGRESS_MS, from);
        onlyGrow(a.events.flatMap((event) => (event.event === "progress" ? [event.iteration] : [])));
      },
    },
    {
      name: "a second worker that is armed does not iterate while the first holds the turn",
      check: async (workers) => {
        const b = await ready(workers, "b");
        await b.accept({ op: "iterate", turn: 2 });
        await stays(b, (await b.status()).iteration);
        await b.reach("armed");
      },
    },
    ...handOverRules(of),
  ];
}

/** Worker a iterates, b is armed for turn 2. */
function handOverRules(of: (name: string) => Candidate): readonly Rule[] {
  return [
    {
      name: "refuses to hand over at an iteration that is past with too_late, and at an old turn with stale_turn",
      check: async () => {
        const a = of("a");
        await a.until("an iteration", 5_000, () =>
          a.events.some((e) => e.event === "progress" && e.iteration > 0),
        );
        await a.refuse({ op: "hand_over", turn: 2, at: 0 }, "too_late");
        await a.refuse({ op: "hand_over", turn: 1 }, "stale_turn");
        same("state", { state: (await a.status()).state }, { state: "iterating" });
      },
    },
    ...takeBackRules(of),
    {
      name: "hands over: the first stops, the second goes on with the next iteration",
      check: async () => handOver(of("a"), of("b"), 2, null),
    },
    {
      name: "takes hand_over again when it is done",
      check: async () => {
        await of("a").accept({ op: "hand_over", turn: 2 });
        await stays(of("a"), (await of("a").status()).iteration);
      },
    },
    {
      name: "after a hand-over refuses to keep the turn with too_late, and to iterate under it with stale_turn",
      check: async () => {
        await of("a").refuse({ op: "keep" }, "too_late");
        await of("a").refuse({ op: "iterate", turn: 2 }, "stale_turn");
        await stays(of("a"), (await of("a").status()).iteration);
      },
    },
    {
      name: "goes back at an iteration that was agreed on",
      check: async () => {
        const [a, b] = [of("a"), of("b")];
        await a.accept({ op: "iterate", turn: 3 });
        const at = (await b.status()).iteration + AHEAD_ITERATIONS;
        await handOver(b, a, 3, at);
      },
    },
    {
      name: "refuses a turn that the role has had with stale_turn, and names the turn that is",
      check: async () => {
        const { turn } = await of("b").refuse({ op: "iterate", turn: 2 }, "stale_turn");
        same("the refusal", { turn: turn ?? null }, { turn: 3 });
      },
    },
  ];
}

/** Worker a iterates, b is armed for turn 2. */
function takeBackRules(of: (name: string) => Candidate): readonly Rule[] {
  return [
    {
      name: "goes on when a hand-over whose iteration has not come is taken back, and answers it with kept",
      check: async () => {
        const a = of("a");
        const { iteration } = await a.status();
        const asked = a.refuse({ op: "hand_over", turn: 2, at: iteration + FAR_ITERATIONS }, "kept");
        // It is looked at below; until then it must not count as unhandled.
        asked.catch(() => undefined);
        await pause(STILL_MS);
        await a.reach("handing_over");
        await a.accept({ op: "keep" });
        await asked;
        await a.reach("iterating");
        await a.accept({ op: "keep" });
        const from = a.events.length;
        await a.event("progress", PROGRESS_MS, from);
      },
    },
    {
      name: "a worker that is armed is disarmed by keep, and can be armed again",
      check: async () => {
        const b = of("b");
        await b.accept({ op: "keep" });
        await b.reach("ready");
        await b.accept({ op: "keep" });
        await b.accept({ op: "iterate", turn: 2 });
        await b.reach("armed");
      },
    },
  ];
}
