/**
 * The rules of the worker protocol (docs/worker-protocol.md) as an agent can check them from outside, in an order in
 * which each builds on what those before it left.
 */
import { MAX_WORKER_LINE_BYTES } from "@fulcrum/contracts/worker-protocol.js";
import { type Candidate, RuleBroken, pause } from "./candidate.js";

/** A pause in which a worker that does what it must not do would have done it. */
const STILL_MS = 400;
const FIRST_ITERATION_MS = 5_000;
const HAND_OVER_MS = 30_000;
const EXIT_MS = 10_000;
const RECONNECT_MS = 5_000;
const PROGRESS_MS = 3_000;
const AHEAD_ITERATIONS = 20;

export interface Workers {
  /** Starts the next one; the first is `a`, and so on. */
  readonly start: (name: "a" | "b" | "c") => Candidate;
  readonly attachMs: number;
}

export interface Rule {
  readonly name: string;
  readonly check: (workers: Workers) => Promise<void>;
}

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

function turnRules(
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

async function handOver(from: Candidate, to: Candidate, turn: number, at: number | null): Promise<void> {
  const heard = to.events.length;
  const { iteration: last } = await from.accept({ op: "hand_over", turn, at }, HAND_OVER_MS);
  if (last === undefined) throw new RuleBroken("the answer to hand_over must say the last iteration it ran");
  if (at !== null) same("the answer", { iteration: last }, { iteration: at });
  const began = await to.event("iterating", FIRST_ITERATION_MS, heard);
  same("event iterating", { turn: began.turn, iteration: began.iteration }, { turn, iteration: last + 1 });
  await from.reach("handed_over");
  await stays(from, last);
}

function onlyGrow(iterations: readonly number[]): void {
  const falls = iterations.some((iteration, at) => at > 0 && iteration < (iterations[at - 1] ?? 0));
  if (falls) throw new RuleBroken(`iteration fell: ${iterations.join(", ")}`);
}

/** It must not run an iteration for a while. */
async function stays(candidate: Candidate, iteration: number): Promise<void> {
  const from = candidate.events.length;
  await pause(STILL_MS);
  const now = await candidate.status();
  const iterated = candidate.events
    .slice(from)
    .some(({ event }) => event === "iterating" || event === "progress");
  if (now.state === "iterating" || now.iteration > iteration || iterated) {
    throw new RuleBroken(`it iterates without the turn: state ${now.state}, iteration ${now.iteration}`);
  }
}

async function exits(candidate: Candidate): Promise<void> {
  const exit = await candidate.until("its end", EXIT_MS, () => candidate.exit);
  if (exit.code !== 0)
    throw new RuleBroken(`it ended with ${exit.signal ?? `exit code ${exit.code}`}, not with 0`);
}

function same(what: string, is: Record<string, unknown>, should: Record<string, unknown>): void {
  const off = Object.entries(should).filter(([field, value]) => is[field] !== value);
  if (off.length === 0) return;
  const parts = off.map(
    ([field, value]) => `${field} must be ${JSON.stringify(value)}, got ${JSON.stringify(is[field])}`,
  );
  throw new RuleBroken(`${what}: ${parts.join(", ")}`);
}
