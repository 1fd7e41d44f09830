/**
 * The rules of the worker protocol (docs/worker-protocol.md) as an agent can check them from outside, in an order in
 * which each builds on what those before it left.
 */
import { MAX_WORKER_LINE_BYTES } from "@fulcrum/contracts/worker-protocol.js";
import { type Candidate, RuleBroken, pause } from "./candidate.js";
import {
  STILL_MS,
  FIRST_ITERATION_MS,
  HAND_OVER_MS,
  RECONNECT_MS,
  exits,
  same,
  stays,
  type Rule,
  type Workers,
} from "./checks.js";
import { turnRules } from "./turn-rules.js";

export function rulesOf(): readonly Rule[] {
  const found = new Map<string, Candidate>();
  const of = (name: string): Candidate => {
    const candidate = found.get(name);
    if (!candidate) throw new RuleBroken(`worker ${name} was not started`);
    return candidate;
  };
  const begin = (workers: Workers, name: "a" | "b" | "c"): Candidate => {
    const candidate = workers.start(name);
    found.set(name, candidate);
    return candidate;
  };
  const ready = async (workers: Workers, name: "b" | "c"): Promise<Candidate> => {
    const candidate = begin(workers, name);
    await candidate.until("hello", workers.attachMs, () => candidate.hello);
    await candidate.accept({ op: "attach" });
    await candidate.event("ready", workers.attachMs);
    return candidate;
  };
  return [
    {
      name: "connects to FULCRUM_WORKER_SOCKET and says hello with what it was started as",
      check: async (workers) => {
        const a = begin(workers, "a");
        const hello = await a.until("hello", workers.attachMs, () => a.hello);
        const { role, generation, smPct } = a.spec;
        const is = { role: hello.role, rank: hello.rank, generation: hello.generation, smPct: hello.smPct };
        same("hello", is, { role, rank: 0, generation, smPct });
        same("hello", { state: hello.state, turn: hello.turn }, { state: "new", turn: null });
      },
    },
    ...badLines(of),
    {
      name: "refuses iterate before it is ready with bad_state",
      check: async () => void (await of("a").refuse({ op: "iterate", turn: 1, take: true }, "bad_state")),
    },
    {
      name: "attaches: answers at once, then says ready",
      check: async ({ attachMs }) => {
        await of("a").accept({ op: "attach" });
        await of("a").event("ready", attachMs);
        await of("a").reach("ready");
      },
    },
    {
      name: "takes attach again without doing it again",
      check: async () => {
        await of("a").accept({ op: "attach" });
        await of("a").reach("ready");
      },
    },
    ...turnRules(of, ready),
    ...faultRules(of, ready),
    ...endRules(of),
  ];
}

function badLines(of: (name: string) => Candidate): readonly Rule[] {
  return [
    {
      name: "answers a line that is no JSON with bad_request and goes on",
      check: async () => {
        const a = of("a");
        a.sendText("this is not JSON\n");
        await a.until("bad_request with id null", 5_000, () =>
          a.unasked.some((answer) => !answer.ok && answer.code === "bad_request"),
        );
        await a.status();
      },
    },
    {
      name: "answers an unknown request with bad_request",
      check: async () => void (await of("a").refuse({ op: "dance" } as never, "bad_request")),
    },
    {
      name: "answers iterate without a turn with bad_request",
      check: async () => void (await of("a").refuse({ op: "iterate" } as never, "bad_request")),
    },
    {
      name: `survives a line of more than ${MAX_WORKER_LINE_BYTES} bytes (bad_request, or hangs up and connects again)`,
      check: async () => {
        const a = of("a");
        const before = { hellos: a.hellos, unasked: a.unasked.length };
        a.sendText(`{"id":9,"op":"${"x".repeat(MAX_WORKER_LINE_BYTES)}"}\n`);
        await a.until("an answer or a new connection", RECONNECT_MS, () => {
          return a.unasked.length > before.unasked || a.hellos > before.hellos;
        });
        await a.status();
      },
    },
  ];
}

function faultRules(
  of: (name: string) => Candidate,
  ready: (workers: Workers, name: "b" | "c") => Promise<Candidate>,
): readonly Rule[] {
  return [
    {
      name: "goes on iterating when the connection breaks, and connects again with what it is",
      check: async () => {
        const a = of("a");
        const [before, hellos] = [(await a.status()).iteration, a.hellos];
        a.breakConnection();
        await a.until("a new connection", RECONNECT_MS, () => a.hellos > hellos);
        same("hello", { state: a.hello?.state, turn: a.hello?.turn }, { state: "iterating", turn: 3 });
        await pause(STILL_MS);
        if ((await a.status()).iteration <= before) throw new RuleBroken("it did not iterate meanwhile");
      },
    },
    {
      name: "takes the turn after the holder was killed, and goes on from what the holder left",
      check: async () => {
        const [a, b] = [of("a"), of("b")];
        const { iteration } = await a.status();
        a.signal("SIGKILL");
        await pause(100);
        const from = b.events.length;
        await b.accept({ op: "iterate", turn: 4, take: true });
        const began = await b.event("iterating", FIRST_ITERATION_MS, from);
        if (began.iteration < iteration) {
          throw new RuleBroken(`it began at iteration ${began.iteration}, the holder had run ${iteration}`);
        }
      },
    },
    {
      name: "stops by itself when its turn is taken, and says fenced",
      check: async (workers) => {
        const b = of("b");
        const c = await ready(workers, "c");
        const from = b.events.length;
        await c.accept({ op: "iterate", turn: 5, take: true });
        await c.event("iterating", FIRST_ITERATION_MS);
        await b.event("fenced", FIRST_ITERATION_MS, from);
        await stays(b, (await b.status()).iteration);
      },
    },
  ];
}

function endRules(of: (name: string) => Candidate): readonly Rule[] {
  return [
    {
      name: "refuses drain while it iterates with bad_state",
      check: async () => void (await of("c").refuse({ op: "drain" }, "bad_state")),
    },
    {
      name: "drains what it holds",
      check: async () => {
        const { leases } = await of("b").accept({ op: "drain" }, HAND_OVER_MS);
        same("the answer", { leases }, { leases: 0 });
        await of("b").accept({ op: "drain" }, HAND_OVER_MS);
      },
    },
    {
      name: "leaves: answers, and exits with 0",
      check: async () => {
        await of("b").accept({ op: "leave" });
        await exits(of("b"));
      },
    },
    {
      name: "leaves on SIGTERM, also while it iterates",
      check: async () => {
        of("c").signal("SIGTERM");
        await exits(of("c"));
      },
    },
  ];
}
