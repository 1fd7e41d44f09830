/**
 * A broken connection, a holder that is killed, a turn that is taken by another. Begins with `a` iterating and `b` handed
 * over; leaves `b` iterating, `a` handed over and `c` dead.
 */
import type { Candidate } from "./candidate.js";
import {
  EXIT_MS,
  FAR_ITERATIONS,
  FIRST_ITERATION_MS,
  HAND_OVER_MS,
  RECONNECT_MS,
  type Rule,
  areAnswered,
  handOver,
  isFenced,
  same,
  takeTurn,
} from "./checks.js";
import { RuleBroken } from "./conversation.js";
import type { Stage } from "./stage.js";

/** How often two workers are told to take the same turn; a worker whose two steps lie 0.1 ms apart is found in a few. */
const RACE = { rounds: 60, leastRounds: 20, limitMs: 1_000 };

export function faultRules(): readonly Rule[] {
  return [...connectionRules, ...deathRules(), ...fenceRules];
}

const connectionRules: readonly Rule[] = [
  {
    name: "keeps a hand-over that is under way when the connection breaks, and goes on iterating",
    check: async (stage) => {
      const a = stage.of("a");
      const turn = stage.turn + 1;
      const { iteration, smCount } = await a.status();
      const at = iteration + FAR_ITERATIONS;
      // Its answer is owed to a connection that breaks.
      a.ask({ op: "hand_over", turn, at }, HAND_OVER_MS).catch(() => undefined);
      await a.reach("handing_over");
      const hello = await a.reconnect(RECONNECT_MS);
      same("hello", { ...hello }, { state: "handing_over", turn, smCount });
      if (hello.iteration < iteration)
        throw new RuleBroken(`hello: iteration must be ${iteration} or more, got ${hello.iteration}`);
      await a.until("an iteration without a connection", FIRST_ITERATION_MS, () => {
        return (
          (a.hello?.iteration ?? 0) > iteration ||
          a.said.all("progress").some((event) => event.iteration > iteration)
        );
      });
      const again = a.refuse({ op: "hand_over", turn, at }, "kept", HAND_OVER_MS);
      // It is looked at below; until then it must not count as unhandled.
      again.catch(() => undefined);
      await a.accept({ op: "keep" });
      await areAnswered([again]);
      await a.reach("iterating");
    },
  },
  {
    name: "says in the hello of a new connection what it was and what it has run, also when it does not iterate",
    check: async (stage) => {
      const b = stage.of("b");
      const { state, turn, iteration, smCount } = await b.status();
      same("hello", { ...(await b.reconnect(RECONNECT_MS)) }, { state, turn, iteration, smCount });
    },
  },
];

function deathRules(): readonly Rule[] {
  let left = { leases: 0, iteration: 0 };
  return [
    {
      name: "says fenced when the turn that it is armed for passes, and can be armed again",
      check: async (stage) => {
        const [a, b] = [stage.of("a"), stage.of("b")];
        const c = await stage.ready("c");
        await b.accept({ op: "iterate", turn: stage.turn + 1 });
        await c.accept({ op: "iterate", turn: stage.turn + 2 });
        stage.turn += 2;
        const from = b.events.length;
        await handOver(a, c, stage.turn, null);
        await isFenced(stage, b, from);
        await b.accept({ op: "iterate", turn: stage.turn + 1 });
      },
    },
    {
      name: "the process whose pid it says is the one that iterates: it is gone when that is killed",
      check: async (stage) => {
        const c = stage.of("c");
        left = await c.status();
        c.signal("SIGKILL");
        const { pid } = c.hello ?? {};
        await c.until(`its end after SIGKILL to process ${pid}`, EXIT_MS, () => c.exit);
        if (c.socket.connection !== null)
          throw new RuleBroken(`process ${pid} was killed, and the worker is still connected`);
      },
    },
    {
      name: "takes the turn after the holder was killed, and goes on from what the holder left",
      check: async (stage) => {
        const { iteration } = await takeTurn(stage, stage.of("b"));
        if (iteration > left.iteration) return;
        throw new RuleBroken(`it began with iteration ${iteration}, the holder had run ${left.iteration}`);
      },
    },
    {
      name: "has the leases of a holder that was killed",
      check: async (stage) => {
        // With nothing to run nobody holds any.
        if (left.leases === 0) return;
        const { leases } = await stage.of("b").status();
        if (leases === 0) throw new RuleBroken(`the holder had ${left.leases} leases, it has none`);
      },
    },
  ];
}

const fenceRules: readonly Rule[] = [
  {
    name: "stops by itself when its turn is taken, and says fenced",
    check: async (stage) => {
      const b = stage.of("b");
      const from = b.events.length;
      await takeTurn(stage, stage.of("a"));
      await isFenced(stage, b, from);
    },
  },
  {
    name: "makes a turn in one step: of two workers that take the same turn at once, one iterates",
    check: async (stage) => {
      const [a, b] = [stage.of("a"), stage.of("b")];
      const giveUpAt = performance.now() + RACE.limitMs;
      let holder = a;
      for (let round = 1; round <= RACE.rounds; round += 1) {
        if (round > RACE.leastRounds && performance.now() > giveUpAt) break;
        await giveAway(stage, holder);
        holder = await race(stage, a, b, round);
      }
      if (holder === b) return;
      await giveAway(stage, holder);
      await takeTurn(stage, b);
    },
  },
];

/** To nobody: the next turn is made, and has to be taken. */
async function giveAway(stage: Stage, holder: Candidate): Promise<void> {
  stage.turn += 1;
  await holder.accept({ op: "hand_over", turn: stage.turn }, HAND_OVER_MS);
}

/** @returns the one that iterates. */
async function race(stage: Stage, a: Candidate, b: Candidate, round: number): Promise<Candidate> {
  stage.turn += 1;
  const { turn } = stage;
  const outcomes = await Promise.all(
    [a, b].map(async (candidate) => {
      const from = candidate.events.length;
      const answer = await candidate.ask({ op: "iterate", turn, take: true });
      if (!answer.ok && answer.code === "stale_turn") return null;
      if (!answer.ok)
        throw new RuleBroken(`the one that comes too late must say stale_turn, got ${answer.code}`);
      const stopped = await candidate.until(
        `event iterating or fenced under turn ${turn}`,
        FIRST_ITERATION_MS,
        () => {
          return candidate.said.find("fenced", from) ?? candidate.said.find("iterating", from);
        },
      );
      return stopped.event === "iterating" ? candidate : null;
    }),
  );
  const [holder, second] = outcomes.filter((candidate) => candidate !== null);
  if (second !== undefined) throw new RuleBroken(`both iterate under turn ${turn}, in round ${round}`);
  if (holder === undefined) throw new RuleBroken(`nobody iterates under turn ${turn}, in round ${round}`);
  return holder;
}
