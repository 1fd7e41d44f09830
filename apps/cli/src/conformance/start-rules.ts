/** The hello, requests that are none, and attaching. Leaves worker `a` ready. */
import { MAX_WORKER_LINE_BYTES } from "@fulcrum/contracts/worker-protocol.js";
import { type AnyRequest, pause } from "./candidate.js";
import { RECONNECT_MS, STILL_MS, type Rule, same, wrongShare } from "./checks.js";
import { RuleBroken } from "./conversation.js";

/** The last one is too deep for a parser that calls itself. */
const NO_REQUESTS = ["this is not JSON", "[1]", "null", "3", '{"op":"status"}', "[".repeat(30_000)];

const WRONG_FIELDS: readonly AnyRequest[] = [
  { op: "iterate" },
  { op: "iterate", turn: "1" },
  { op: "iterate", turn: true },
  { op: "iterate", turn: 0 },
  { op: "iterate", turn: 2 ** 60 },
  { op: "iterate", turn: 1, take: "yes" },
  { op: "hand_over", turn: 1.5 },
  { op: "hand_over", turn: 1, at: -3 },
  { op: "hand_over", turn: 1, at: true },
  { op: ["status"] },
] as unknown as readonly AnyRequest[];

export const startRules: readonly Rule[] = [
  {
    name: "connects to FULCRUM_WORKER_SOCKET and says hello with what it was started as",
    check: async (stage) => {
      const a = await stage.start("a");
      const hello = await a.until("hello", stage.options.attachMs, () => a.hello);
      const { role, generation, smPct } = a.spec;
      same("hello", { ...hello }, { role, rank: 0, generation, smPct });
      same("hello", { ...hello }, { state: "new", turn: null, iteration: 0, smCount: null });
    },
  },
  {
    name: "its hello has the pid of a process that was started as this worker",
    check: async (stage) => {
      const a = stage.of("a");
      if (a.ownsItsPid) return;
      throw new RuleBroken(
        `process ${a.hello?.pid} does not have FULCRUM_WORKER_ID=${a.spec.id} in its environment`,
      );
    },
  },
  {
    name: "answers a line that is no request (no JSON, no object, no id) with bad_request, and goes on",
    check: async (stage) => {
      const a = stage.of("a");
      for (const line of NO_REQUESTS) {
        const before = a.said.unasked.length;
        a.socket.send(`${line}\n`);
        const what = line.slice(0, 40);
        await a.until(`bad_request with id null to ${what}`, 5_000, () => a.said.unasked.length > before);
        const answer = a.said.unasked.at(-1);
        same(`the answer to ${what}`, { ...answer }, { ok: false, code: "bad_request" });
      }
      await a.status();
    },
  },
  {
    name: "answers an unknown request with bad_request",
    check: async (stage) => void (await stage.of("a").refuse({ op: "dance" }, "bad_request")),
  },
  {
    name: "answers a field that is missing or wrong with bad_request and the request's id",
    check: async (stage) => {
      for (const request of WRONG_FIELDS) await stage.of("a").refuse(request, "bad_request");
    },
  },
  {
    name: "passes over fields that it does not know",
    check: async (stage) => {
      const strange = { type: "strange", self: 1, connection: {}, request: [], state: null };
      await stage.of("a").accept({ ...strange, op: "status" });
    },
  },
  {
    name: `survives a line of more than ${MAX_WORKER_LINE_BYTES} bytes (bad_request, or hangs up and connects again)`,
    check: async (stage) => {
      const a = stage.of("a");
      const before = { hello: a.hello, unasked: a.said.unasked.length };
      a.socket.send(`{"id":9,"op":"${"x".repeat(MAX_WORKER_LINE_BYTES)}"}\n`);
      await a.until("an answer or a new connection", RECONNECT_MS, () => {
        return a.said.unasked.length > before.unasked || a.hello !== before.hello;
      });
      await a.status();
    },
  },
  {
    name: "refuses iterate and hand_over before it is ready with bad_state",
    check: async (stage) => {
      await stage.of("a").refuse({ op: "iterate", turn: 1, take: true }, "bad_state");
      await stage.of("a").refuse({ op: "hand_over", turn: 1 }, "bad_state");
    },
  },
  {
    name: "attaches: answers at once, then says ready",
    check: async (stage) => {
      const a = stage.of("a");
      await a.accept({ op: "attach" });
      await a.event("ready", stage.options.attachMs);
      await a.reach("ready");
    },
  },
  {
    name: "takes attach again without doing it again: says ready once",
    check: async (stage) => {
      const a = stage.of("a");
      await a.accept({ op: "attach" });
      await a.reach("ready");
      await pause(STILL_MS);
      const count = a.said.all("ready").length;
      if (count !== 1) throw new RuleBroken(`it said ready ${count} times`);
    },
  },
  {
    name: "sees the SMs of its share, or cannot tell",
    check: async (stage) => {
      const wrong = wrongShare(stage, stage.of("a"));
      if (wrong !== null) throw new RuleBroken(wrong);
    },
  },
];
