#!/usr/bin/env node
/**
 * A worker that keeps every rule of the worker protocol, has no engine, and holds two leases while it iterates. Its turn lies
 * in a folder (docs/worker-protocol.md, "A turn in a folder"). wrong-*.ts have what it becomes with one thing wrong.
 */
import { linkSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const env = process.env;
const role = env.FULCRUM_WORKER_ROLE;
const smPct = Number(env.FULCRUM_SM_PCT);
const folder = env.FULCRUM_RESIDENT;
const abandonMs = 1_000 * Number(env.FULCRUM_WORKER_ABANDON_S ?? 60);
const GPU_SM_COUNT = 108;
const LEASES = 2;
const LOOK_MS = 1;
const ITERATION_MS = 5;
const PROGRESS_MS = 1_000;
const APART_MS = 1_000;
const MAX_LINE_CHARS = 65_536;
const OPS = ["attach", "iterate", "hand_over", "keep", "drain", "leave", "status"];

const me = { state: "new", turn: null, iteration: 0, smCount: null };
const state = { tokens: 0, leases: 0 };
/** The turn that it iterates under. */
let own = 0;
/** The hand-over under way: who asked for it, and at which iteration. */
let passing = null;
mkdirSync(folder, { recursive: true });

const isBusy = () => me.state === "iterating" || me.state === "handing_over";

// The turn, and what its holder leaves there.

function turnNow() {
  const turns = readdirSync(folder).filter((file) => file.startsWith(`${role}.`));
  return Math.max(0, ...turns.map((file) => Number(file.split(".")[1])));
}

const fileOf = (turn) => join(folder, `${role}.${turn}`);
const loadLeft = (turn) =>
  turn === 0 ? { iteration: 0, tokens: 0, leases: 0 } : JSON.parse(readFileSync(fileOf(turn), "utf8"));

function ownFile(left) {
  const file = join(folder, `tmp.${process.pid}`);
  writeFileSync(file, JSON.stringify(left));
  return file;
}

/** @returns false when somebody else made it first. */
function makeTurn(turn, left) {
  const file = ownFile(left);
  try {
    linkSync(file, fileOf(turn));
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
    return false;
  } finally {
    rmSync(file, { force: true });
  }
}

// Iterating.

async function live() {
  for (;;) {
    look();
    if (isBusy()) await iterateOnce();
    else await sleep(LOOK_MS);
  }
}

function look() {
  const now = turnNow();
  if (me.state === "armed" && now === me.turn) begin(now);
  else if (me.state === "armed" && now > me.turn) fence(now);
  else if (isBusy() && now > own) fence(now);
}

function begin(now) {
  const left = loadLeft(now);
  own = now;
  me.state = "iterating";
  me.iteration = left.iteration;
  state.leases = LEASES;
  event({ event: "iterating", turn: now, iteration: me.iteration + 1, waitedMs: 0 });
}

function fence(now) {
  me.state = "handed_over";
  state.leases = 0;
  event({ event: "fenced", turn: now, iteration: me.iteration });
  endPassing((asked) => accept(asked));
}

let toldAt = 0;

async function iterateOnce() {
  await sleep(ITERATION_MS);
  if (!isBusy() || turnNow() !== own) return;
  me.iteration += 1;
  const left = { iteration: me.iteration, tokens: state.tokens, leases: state.leases };
  renameSync(ownFile(left), fileOf(own));
  if (performance.now() - toldAt > PROGRESS_MS) {
    toldAt = performance.now();
    event({ event: "progress", iteration: me.iteration, tokens: state.tokens });
  }
  const isDue = passing !== null && (passing.at === null || me.iteration >= passing.at);
  if (!isDue || !makeTurn(passing.turn, left)) return;
  me.state = "handed_over";
  state.leases = 0;
  endPassing((asked) => accept(asked, { iteration: me.iteration }));
}

function endPassing(answerTo) {
  const asked = passing?.asked ?? [];
  passing = null;
  for (const one of asked) answerTo(one);
}

// Requests.

function take(asked, request) {
  const { op, turn } = request;
  if (op === "attach") attach(asked);
  else if (op === "iterate") arm(asked, turn, request.take === true);
  else if (op === "hand_over") passOn(asked, turn, request.at ?? null);
  else if (op === "keep") keep(asked);
  else if (op === "drain") drain(asked);
  else if (op === "leave") leave(asked);
  else accept(asked, { leases: state.leases });
}

function attach(asked) {
  if (me.state !== "new") return accept(asked);
  me.state = "attaching";
  accept(asked);
  setTimeout(() => {
    me.state = "ready";
    me.smCount = Math.floor((smPct / 100) * (GPU_SM_COUNT / 2) + 1e-9) * 2;
    event({ event: "ready", smCount: me.smCount, tookMs: 20 });
  }, 20);
}

function arm(asked, turn, isTaken) {
  const now = turnNow();
  if (me.state === "iterating" && turn <= now) return accept(asked);
  if (!["ready", "armed", "handed_over"].includes(me.state)) return refuse(asked, "bad_state");
  if (me.state === "armed" && turn === me.turn && turn === now) return accept(asked);
  if (turn <= now) return refuse(asked, "stale_turn", { turn: now });
  if (isTaken && !makeTurn(turn, loadLeft(now))) return refuse(asked, "stale_turn", { turn: turnNow() });
  me.state = "armed";
  me.turn = turn;
  accept(asked);
}

function passOn(asked, turn, at) {
  const now = turnNow();
  if (me.state === "handed_over" && turn <= now) return accept(asked);
  if (me.state === "handing_over" && turn === passing.turn) return void passing.asked.push(asked);
  if (me.state !== "iterating") return refuse(asked, "bad_state");
  if (turn <= now) return refuse(asked, "stale_turn", { turn: now });
  if (at !== null && at <= me.iteration) return refuse(asked, "too_late");
  me.state = "handing_over";
  me.turn = turn;
  passing = { asked: [asked], turn, at };
}

function keep(asked) {
  const isComing = me.state === "armed" && turnNow() >= me.turn;
  if (me.state === "handed_over" || isComing) return refuse(asked, "too_late");
  if (me.state === "armed") me.state = "ready";
  if (me.state === "handing_over") me.state = "iterating";
  endPassing((one) => refuse(one, "kept"));
  accept(asked);
}

function drain(asked) {
  if (isBusy()) return refuse(asked, "bad_state");
  me.state = "draining";
  state.leases = 0;
  accept(asked, { leases: 0 });
}

function leave(asked) {
  accept(asked);
  asked.socket.end(() => process.exit(0));
}

// The connection.

let socket = null;
let triedAt = 0;
/** Since when no agent has it; null while one does. */
let aloneSince = performance.now();

const write = (to, value) => to?.write(`${JSON.stringify(value)}\n`);
const event = (value) => write(socket, value);
const answer = (asked, value) => write(asked.socket, { id: asked.id, ...value });
const accept = (asked, more = {}) => answer(asked, { ok: true, ...me, ...more });
const refuse = (asked, code, more = {}) =>
  answer(asked, { ok: false, code, message: `it is ${me.state}`, ...more });

function takeLine(from, line) {
  let request = null;
  try {
    request = JSON.parse(line);
  } catch {
    // It is no object then.
  }
  if (request?.type === "refused") return;
  if (!Number.isInteger(request?.id)) return refuse({ id: null, socket: from }, "bad_request");
  aloneSince = null;
  const asked = { id: request.id, socket: from };
  if (isRight(request)) take(asked, request);
  else refuse(asked, "bad_request");
}

function isRight({ op, turn, at, take: isTaken }) {
  const isWhole = (value, least) => Number.isSafeInteger(value) && value >= least;
  if (!OPS.includes(op)) return false;
  if (op === "iterate") return isWhole(turn, 1) && [undefined, true, false].includes(isTaken);
  return op !== "hand_over" || (isWhole(turn, 1) && ((at ?? null) === null || isWhole(at, 0)));
}

function open() {
  triedAt = performance.now();
  const mine = connect(env.FULCRUM_WORKER_SOCKET);
  const identity = { worker: env.FULCRUM_WORKER_ID, pid: process.pid, role, smPct };
  const place = { rank: Number(env.FULCRUM_WORKER_RANK), generation: Number(env.FULCRUM_GENERATION) };
  let buffered = "";
  mine.setEncoding("utf8");
  mine.on("connect", () => {
    socket = mine;
    write(mine, { type: "hello", protocol: 1, ...identity, ...place, ...me });
  });
  mine.on("data", (chunk) => {
    buffered += chunk;
    for (let end = buffered.indexOf("\n"); end !== -1; end = buffered.indexOf("\n")) {
      const line = buffered.slice(0, end);
      buffered = buffered.slice(end + 1);
      takeLine(mine, line.length > MAX_LINE_CHARS ? "too long" : line);
    }
  });
  mine.on("error", () => undefined);
  mine.on("close", () => {
    if (socket === mine) socket = null;
    aloneSince ??= performance.now();
    setTimeout(open, Math.max(0, triedAt + APART_MS - performance.now()));
  });
}

function leaveIfAlone() {
  if (aloneSince === null || isBusy()) return;
  if (performance.now() - aloneSince > abandonMs) process.exit(0);
}

process.on("SIGTERM", () => process.exit(0));
setInterval(leaveIfAlone, 100);
open();
void live();
