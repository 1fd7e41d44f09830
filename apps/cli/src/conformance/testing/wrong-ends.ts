/** Workers that end wrongly, or are wrong in what they say over a whole run. */
import { type WrongWorker, wrong } from "./wrong-worker.js";

export const WRONG_ENDS: readonly WrongWorker[] = [
  wrong(
    "drains while it iterates",
    'if (isBusy()) return refuse(asked, "bad_state");\n  me.state = "draining";',
    'if (isBusy()) return accept(asked, { leases: 0 });\n  me.state = "draining";',
    /refuses drain while it iterates/,
    /but was accepted/,
  ),
  wrong(
    "says that leases are left when it has drained",
    "accept(asked, { leases: 0 });",
    "accept(asked, { leases: LEASES });",
    /no lease is left/,
    /leases must be 0, got 2/,
  ),
  wrong(
    "keeps leases after it has drained",
    'me.state = "draining";\n  state.leases = 0;',
    'me.state = "draining";\n  state.leases = LEASES;',
    /no lease is left/,
    /status: leases must be 0, got 2/,
  ),
  wrong(
    "leaves only when it does not iterate",
    "function leave(asked) {",
    'function leave(asked) {\n  if (isBusy()) return refuse(asked, "bad_state");',
    /leaves while it iterates/,
    /refused: bad_state/,
  ),
  wrong(
    "answers leave and stays",
    "asked.socket.end(() => process.exit(0));",
    "",
    /has drained: answers/,
    /its end/,
  ),
  wrong(
    "never leaves when no agent has it",
    "if (performance.now() - aloneSince > abandonMs) process.exit(0);",
    "",
    /without an agent, when it does not iterate/,
    /its end: not within/,
  ),
  wrong(
    "counts a connection that was refused",
    'if (request?.type === "refused") return;',
    'if (request?.type === "refused") return void (aloneSince = null);',
    /only refused/,
    /its end: not within/,
  ),
  wrong(
    "tries to connect all the time",
    "const APART_MS = 1_000;",
    "const APART_MS = 500;",
    /at most once a second/,
    /it tried \d+ times within/,
  ),
  wrong(
    "leaves without an agent although it iterates",
    "if (aloneSince === null || isBusy()) return;",
    "if (aloneSince === null) return;",
    /goes on without an agent/,
    /exit code 0/,
  ),
  wrong(
    "ignores SIGTERM",
    'process.on("SIGTERM", () => process.exit(0));',
    'process.on("SIGTERM", () => undefined);',
    /SIGTERM/,
    /its end: not within/,
  ),
];

export const WRONG_RECORDS: readonly WrongWorker[] = [
  wrong(
    "answers everything twice",
    "const answer = (asked, value) => write(asked.socket, { id: asked.id, ...value });",
    "const answer = (asked, value) => [1, 2].map(() => asked.id !== null && write(asked.socket, { id: asked.id, ...value })) && asked.id === null && write(asked.socket, { id: null, ...value });",
    /answers each request once/,
    /answered twice/,
  ),
  wrong(
    "answers a request of a broken connection on the next one",
    "const answer = (asked, value) => write(asked.socket,",
    "const answer = (asked, value) => write(asked.id === null ? asked.socket : socket,",
    /answers each request once/,
    /hand_over was asked on a connection that broke/,
  ),
  wrong(
    "sees the SMs of another share later",
    "me.smCount = Math.floor((smPct / 100) *",
    "me.smCount = Math.floor(0.4 *",
    /whatever that is/,
    /decode-b: under 50 %.* must see 54, and it sees 42/,
  ),
  wrong(
    "counts tokens down",
    "iteration: me.iteration, tokens: state.tokens });\n  }",
    "iteration: me.iteration, tokens: Math.max(0, 1e6 - me.iteration) });\n  }",
    /only grow/,
    /tokens fell from/,
  ),
  wrong(
    "counts iterations down in progress",
    'event({ event: "progress", iteration: me.iteration,',
    'event({ event: "progress", iteration: Math.max(0, 1e6 - me.iteration),',
    /only grow/,
    /iteration fell from/,
  ),
  {
    what: "says nothing while the next one attaches",
    change: [
      ["let toldAt = 0;", "let toldAt = 0;\nlet told = 0;"],
      ["toldAt = performance.now();", "toldAt = performance.now();\n    told += 1;"],
      ["- toldAt > PROGRESS_MS", "- toldAt > (told === 2 ? 4_500 : PROGRESS_MS)"],
      ["}, 20);", '}, env.FULCRUM_GENERATION === "2" ? 4_000 : 20);'],
    ],
    rule: /is not silent while it iterates/,
    why: /no progress for/,
  },
  wrong(
    "says another smCount in the answers once it has handed over",
    "const accept = (asked, more = {}) => answer(asked, { ok: true, ...me, ...more });",
    'const accept = (asked, more = {}) => answer(asked, { ok: true, ...me, ...(me.state === "draining" ? { smCount: 108 } : {}), ...more });',
    /same smCount/,
    /says smCount 108, event ready said/,
  ),
];
