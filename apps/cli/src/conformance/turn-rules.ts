/** Whose turn it is: arming, handing over, taking that back. Leaves `a` iterating under turn 4, and `b` handed over. */
import { type Candidate, pause } from "./candidate.js";
import {
  AHEAD_ITERATIONS,
  FAR_ITERATIONS,
  HAND_OVER_MS,
  PROGRESS_MS,
  STILL_MS,
  type Rule,
  areAnswered,
  handOver,
  same,
  stays,
  takeTurn,
} from "./checks.js";
import { RuleBroken } from "./conversation.js";
import type { Stage } from "./stage.js";

/** Rounds, and the time that they may take with nothing to run: ten a second, and 1 s more for a busy machine. */
const IDLE = { rounds: 20, limitMs: 3_000 };

export function turnRules(): readonly Rule[] {
  return [...armingRules, ...takeBackRules(), ...handOverRules];
}

const armingRules: readonly Rule[] = [
  {
    name: "does not iterate before it is given a turn",
    check: async (stage) => void (await stays(stage.of("a"), 0)),
  },
  {
    name: "takes the first turn and iterates",
    check: async (stage) => void (await takeTurn(stage, stage.of("a"))),
  },
  {
    name: "says progress about once a second",
    check: async (stage) => {
      const a = stage.of("a");
      for (let count = 0; count < 2; count += 1) await a.event("progress", PROGRESS_MS, a.events.length);
    },
  },
  {
    name: "takes iterate again for the turn that it has, and does not begin anew",
    check: async (stage) => {
      const a = stage.of("a");
      const from = a.events.length;
      await a.accept({ op: "iterate", turn: stage.turn, take: true });
      await pause(STILL_MS);
      if (a.said.find("iterating", from)) throw new RuleBroken("it said iterating a second time");
    },
  },
  {
    name: "a second worker that is armed does not iterate while the first has the turn, and takes up nothing",
    check: async (stage) => {
      const b = await stage.ready("b");
      await b.accept({ op: "iterate", turn: stage.turn + 1 });
      const before = await b.status();
      const after = await stays(b, before.iteration);
      same("while it is armed", { ...after }, { state: "armed", leases: before.leases });
    },
  },
  {
    name: "a worker that is armed can be armed for a higher turn",
    check: async (stage) => {
      const b = stage.of("b");
      await b.accept({ op: "iterate", turn: stage.turn + 2 });
      same("status", { ...(await b.status()) }, { state: "armed", turn: stage.turn + 2 });
    },
  },
  {
    name: "a worker that is armed refuses to hand over with bad_state",
    check: async (stage) => {
      await stage.of("b").refuse({ op: "hand_over", turn: stage.turn + 3 }, "bad_state");
      await stage.of("b").reach("armed");
    },
  },
  {
    name: "refuses to hand over at an iteration that it has run with too_late, and at an old turn with stale_turn",
    check: async (stage) => {
      const a = stage.of("a");
      const { iteration } = await a.status();
      await a.refuse({ op: "hand_over", turn: stage.turn + 2, at: iteration }, "too_late");
      await a.refuse({ op: "hand_over", turn: stage.turn }, "stale_turn");
      same("status", { ...(await a.status()) }, { state: "iterating" });
    },
  },
];

/** `a` iterates, `b` is armed for the turn after the next. */
function takeBackRules(): readonly Rule[] {
  let underWay: readonly Promise<unknown>[] = [];
  const askFar = async (stage: Stage, a: Candidate): Promise<void> => {
    const at = (await a.status()).iteration + FAR_ITERATIONS;
    const request = { op: "hand_over", turn: stage.turn + 2, at };
    underWay = [1, 2].map(() => a.refuse(request, "kept", 2 * HAND_OVER_MS));
    // They are looked at below; until then they must not count as unhandled.
    for (const asked of underWay) asked.catch(() => undefined);
  };
  return [
    {
      name: "takes hand_over again while it is under way, and goes on iterating until the iteration comes",
      check: async (stage) => {
        const a = stage.of("a");
        await askFar(stage, a);
        await Promise.race([pause(STILL_MS), ...underWay]);
        await a.reach("handing_over");
      },
    },
    {
      name: "runs at least ten rounds a second towards an agreed iteration, also with nothing to run",
      check: async (stage) => runsIdleRounds(stage.of("a")),
    },
    {
      name: "says progress while a hand-over is under way",
      check: async (stage) => {
        const a = stage.of("a");
        await a.event("progress", PROGRESS_MS, a.events.length);
      },
    },
    {
      name: "goes on when a hand-over is taken back, and answers it with kept, both times that it was asked",
      check: async (stage) => {
        const a = stage.of("a");
        await a.accept({ op: "keep" });
        await areAnswered(underWay);
        await a.reach("iterating");
        await a.accept({ op: "keep" });
        await a.event("progress", PROGRESS_MS, a.events.length);
      },
    },
    {
      name: "a worker that is armed is disarmed by keep, and can be armed again",
      check: async (stage) => {
        const b = stage.of("b");
        await b.accept({ op: "keep" });
        await b.reach("ready");
        await b.accept({ op: "keep" });
        await b.accept({ op: "iterate", turn: stage.turn + 2 });
        await b.reach("armed");
      },
    },
  ];
}

async function runsIdleRounds(candidate: Candidate): Promise<void> {
  const began = performance.now();
  const from = (await candidate.status()).iteration;
  for (;;) {
    const rounds = (await candidate.status()).iteration - from;
    const tokens = candidate.said.all("progress").map((event) => event.tokens);
    // One that makes tokens has something to run, and its iterations take what they take.
    const isBusy = new Set(tokens.slice(-2)).size > 1;
    if (rounds >= (isBusy ? 1 : IDLE.rounds)) return;
    const tookMs = Math.round(performance.now() - began);
    if (tookMs > (isBusy ? HAND_OVER_MS : IDLE.limitMs))
      throw new RuleBroken(`it ran ${rounds} rounds in ${tookMs} ms, not ${IDLE.rounds}`);
    await pause(20);
  }
}

/** `a` iterates, `b` is armed for the turn after the next. */
const handOverRules: readonly Rule[] = [
  {
    name: "hands over: the first stops, the second goes on with the next iteration",
    check: async (stage) => {
      stage.turn += 2;
      await handOver(stage.of("a"), stage.of("b"), stage.turn, null);
    },
  },
  {
    name: "takes hand_over again when it is done, and changes nothing",
    check: async (stage) => {
      const a = stage.of("a");
      const { iteration } = await a.status();
      await a.accept({ op: "hand_over", turn: stage.turn });
      await stays(a, iteration);
    },
  },
  {
    name: "after a hand-over refuses to keep the turn with too_late, and to iterate under it with stale_turn",
    check: async (stage) => {
      const a = stage.of("a");
      await a.refuse({ op: "keep" }, "too_late");
      await a.refuse({ op: "iterate", turn: stage.turn }, "stale_turn");
      await stays(a, (await a.status()).iteration);
    },
  },
  {
    name: "goes back at the iteration that was agreed on, and answers all who asked for it",
    check: async (stage) => {
      const [a, b] = [stage.of("a"), stage.of("b")];
      stage.turn += 1;
      const turn = stage.turn;
      await a.accept({ op: "iterate", turn });
      const at = (await b.status()).iteration + AHEAD_ITERATIONS;
      const first = b.accept({ op: "hand_over", turn, at }, HAND_OVER_MS);
      const [, answer] = await Promise.all([handOver(b, a, turn, at), first]);
      same("the answer to the first of two", { iteration: answer.iteration }, { iteration: at });
    },
  },
  {
    name: "refuses a turn that the role has had with stale_turn, and names the turn that is",
    check: async (stage) => {
      const { turn } = await stage.of("b").refuse({ op: "iterate", turn: stage.turn - 1 }, "stale_turn");
      same("the refusal", { turn: turn ?? null }, { turn: stage.turn });
    },
  },
];
