/** Workers that are wrong when a connection breaks, a holder dies, or the turn is another's. */
import { type WrongWorker, wrong } from "./wrong-worker.js";

export const WRONG_FAULTS: readonly WrongWorker[] = [
  wrong(
    "does not connect again",
    "setTimeout(open, Math",
    "void (open, Math",
    /under way when the connection breaks/,
    /a new connection: not within/,
  ),
  wrong(
    "forgets a hand-over that is under way when the connection breaks",
    "if (socket === mine) socket = null;",
    'if (socket === mine) socket = null;\n    if (me.state === "handing_over") me.state = "iterating";',
    /under way when the connection breaks/,
    /state must be "handing_over"/,
  ),
  wrong(
    "says a hello with iteration 0",
    "...place, ...me });",
    "...place, ...me, iteration: 0 });",
    /under way when the connection breaks/,
    /hello: iteration must be/,
  ),
  wrong(
    "says a hello without the SMs",
    "...place, ...me });",
    "...place, ...me, smCount: null });",
    /under way when the connection breaks/,
    /hello: smCount must be 42, got null/,
  ),
  wrong(
    "says a hello with iteration 0 when it does not iterate",
    "...place, ...me });",
    "...place, ...me, iteration: isBusy() ? me.iteration : 0 });",
    /also when it does not iterate/,
    /hello: iteration must be/,
  ),
  wrong(
    "is never fenced while it is armed",
    'else if (me.state === "armed" && now > me.turn) fence(now);',
    "",
    /fenced when the turn that it is armed for passes/,
    /event fenced: not within/,
  ),
  wrong(
    "begins anew after a holder that was killed",
    "makeTurn(turn, loadLeft(now))",
    "makeTurn(turn, now < 6 ? loadLeft(now) : loadLeft(0))",
    /goes on from what the holder left/,
    /it began with iteration 1/,
  ),
  wrong(
    "does not have the leases of a holder that was killed",
    "state.leases = LEASES;",
    "state.leases = now === 7 ? 0 : LEASES;",
    /leases of a holder that was killed/,
    /it has none/,
  ),
  wrong(
    "keeps iterating when its turn is taken",
    "else if (isBusy() && now > own) fence(now);",
    "",
    /stops by itself/,
    /event fenced: not within/,
  ),
  {
    what: "makes the turn by rename",
    change: [
      ["linkSync(file, fileOf(turn));", "renameSync(file, fileOf(turn));"],
      ["linkSync, ", ""],
    ],
    rule: /in one step/,
    why: /both iterate under turn/,
  },
  wrong(
    "does not look whether it was the one that made the turn",
    "if (isTaken && !makeTurn(turn, loadLeft(now))) return refuse(",
    "if (isTaken && !makeTurn(turn, loadLeft(now)) && now < 0) return refuse(",
    /in one step/,
    /both iterate under turn/,
  ),
];
