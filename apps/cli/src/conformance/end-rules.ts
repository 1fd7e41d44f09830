/**
 * Drain, leave, SIGTERM, and a worker that no agent has. Begins with `b` iterating and `a` handed over; leaves all ended.
 */
import type { Candidate } from "./candidate.js";
import { EXIT_MS, HAND_OVER_MS, RECONNECT_MS, type Rule, exits, same, takeTurn } from "./checks.js";
import { RuleBroken } from "./conversation.js";
import type { Stage } from "./stage.js";

/** FULCRUM_WORKER_ABANDON_S of the workers that are cut off here; the protocol's is 60. */
const ABANDON_S = 2;
/** Longest time over it: a worker may look once a second, and the machine be busy. */
const LATE_MS = 4_000;
/** By so much a try may seem too early on a machine that is busy. */
const BUSY_MS = 500;

export const endRules: readonly Rule[] = [
  {
    name: "refuses drain while it iterates with bad_state",
    check: async (stage) => void (await stage.of("b").refuse({ op: "drain" }, "bad_state")),
  },
  {
    name: "drains what it holds: no lease is left, in the answer and in status; then it takes no turn",
    check: async (stage) => {
      const a = stage.of("a");
      for (let count = 0; count < 2; count += 1) {
        const { leases } = await a.accept({ op: "drain" }, HAND_OVER_MS);
        same("the answer", { leases }, { leases: 0 });
      }
      same("status", { ...(await a.status()) }, { state: "draining", leases: 0 });
      await a.refuse({ op: "iterate", turn: stage.turn + 1, take: true }, "bad_state");
    },
  },
  {
    name: "leaves when it has drained: answers, and exits with 0",
    check: async (stage) => leaves(stage.of("a")),
  },
  {
    name: "leaves while it iterates: answers, exits with 0, and the next one goes on from there",
    check: async (stage) => {
      const b = stage.of("b");
      // The two that are cut off below start along with it.
      const env = { FULCRUM_WORKER_ABANDON_S: String(ABANDON_S) };
      const [d] = await Promise.all([
        stage.ready("d", env),
        stage.greeted("away", env),
        stage.greeted("refused", env),
      ]);
      const { iteration: ran } = await b.status();
      await leaves(b);
      const { iteration } = await takeTurn(stage, d);
      if (iteration <= ran)
        throw new RuleBroken(`it began with iteration ${iteration}, the one that left had run ${ran}`);
    },
  },
  {
    name: `leaves after FULCRUM_WORKER_ABANDON_S (${ABANDON_S} here) without an agent, when it does not iterate`,
    check: async (stage) => {
      await cutOff(stage);
      await exits(stage.of("away"), ABANDON_S * 1_000 + LATE_MS);
    },
  },
  {
    name: "leaves so too when it is only refused",
    check: async (stage) => exits(stage.of("refused"), LATE_MS),
  },
  {
    name: "tries to connect at most once a second",
    check: async (stage) => {
      // The first try after a long connection may come at once.
      const tries = stage.of("refused").socket.triedAtMs.slice(1);
      const withinMs = Math.round((tries.at(-1) ?? 0) - (tries[0] ?? 0));
      if (tries.length === 0) throw new RuleBroken("it did not try a second time");
      if ((tries.length - 1) * 1_000 > withinMs + BUSY_MS)
        throw new RuleBroken(`it tried ${tries.length} times within ${withinMs} ms`);
    },
  },
  {
    name: "goes on without an agent when it iterates, and connects when there is one again",
    check: async (stage) => {
      const d = stage.of("d");
      const before = d.hello;
      const since = d.said.all("progress").at(-1)?.iteration ?? 0;
      await d.socket.listen();
      await d.until("a new connection", RECONNECT_MS, () => d.hello !== before);
      same("hello", { ...d.hello }, { state: "iterating", turn: stage.turn });
      if ((d.hello?.iteration ?? 0) < since)
        throw new RuleBroken(`hello: iteration was ${since}, and is ${d.hello?.iteration}`);
    },
  },
  {
    name: "leaves on SIGTERM, also while it iterates",
    check: async (stage) => {
      stage.of("d").signal("SIGTERM");
      await exits(stage.of("d"));
    },
  },
];

async function leaves(candidate: Candidate): Promise<void> {
  await candidate.accept({ op: "leave" }, EXIT_MS);
  await exits(candidate);
}

/** One that iterates and one that does not lose their agent; a third is refused from now on. */
async function cutOff(stage: Stage): Promise<void> {
  const [away, refused] = [stage.of("away"), stage.of("refused")];
  await Promise.all([away.status(), refused.status()]);
  refused.socket.refuses = { type: "refused", code: "duplicate", message: "another process has this id" };
  refused.socket.hangUp();
  await Promise.all([away.socket.close(), stage.of("d").socket.close()]);
}
