#!/usr/bin/env node
/**
 * A worker of the worker protocol without an engine: iterates by waiting, keeps its turn in a folder
 * (docs/worker-protocol.md, "A turn in a folder"), and fails where FAKE_FAULTS says. FAKE_FAULTS is a JSON file:
 * {"<role> <generation>" or "<role> <generation> <rank>": {"attachMs":0, "smCount":null, "ignoreSigterm":false,
 * "die":"attach|ready|armed|iterating|hand_over", "hang":same, "handOver":"too_late|late|never", "keep":"too_late",
 * "cut":true, "stillAt":n, "mute":true}}: hands over as if the iteration were past, long after it, or not at all; hands
 * over just before it is told to stay. `cut`: its connection breaks before it reads its first hand_over. `stillAt`:
 * lives, and never gets past that iteration. `mute`: once there is a file `mute` in its folder it stops, tells
 * nothing any more, and answers as before.
 * FAKE_SM_COUNT: SMs of the GPU (108). FAKE_ITERATION_MS: 5. FAKE_TRACE: file that gets what it was told, one JSON line
 * each. As with MPS, no pipe directory means no cap; with HSA_CU_MASK it sees the CUs of its mask.
 */
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";

const env = process.env;
const role = env.FULCRUM_WORKER_ROLE;
const folder = env.FULCRUM_RESIDENT;
const smPct = Number(env.FULCRUM_SM_PCT);
const total = Number(env.FAKE_SM_COUNT ?? 108);
const iterationMs = Number(env.FAKE_ITERATION_MS ?? 5);
const abandonMs = 1_000 * Number(env.FULCRUM_WORKER_ABANDON_S ?? 60);
const fault = faultOf();
const me = { state: "new", turn: null, iteration: 0, smCount: null };
const lateBy = fault.handOver === "late" ? 300 : 0;
let tokens = 0;
let handOver = null;
let socket = null;
let isCut = false;
/** Hanging: it goes on reading and does nothing more. */
const life = { hung: false };
mkdirSync(folder, { recursive: true });

function faultOf() {
  try {
    const all = JSON.parse(readFileSync(env.FAKE_FAULTS, "utf8"));
    const key = `${role} ${env.FULCRUM_GENERATION}`;
    return all[`${key} ${env.FULCRUM_WORKER_RANK}`] ?? all[key] ?? {};
  } catch {
    return {};
  }
}

function trace(...said) {
  if (env.FAKE_TRACE) appendFileSync(env.FAKE_TRACE, `${JSON.stringify(said)}\n`);
}

function smCountSeen() {
  const mask = /^\d+:(\d+)-(\d+)$/.exec(env.HSA_CU_MASK ?? "");
  if (mask) return Number(mask[2]) - Number(mask[1]) + 1;
  const mps = env.CUDA_MPS_PIPE_DIRECTORY;
  if (mps === undefined || !existsSync(mps)) return total;
  return Math.max(2, Math.floor((smPct / 100) * (total / 2) + 1e-9) * 2);
}

if (env.HSA_CU_MASK) trace(env.HSA_CU_MASK);

function reach(point) {
  if (fault.die === point) process.exit(3);
  if (fault.hang === point) life.hung = true;
  return !life.hung;
}

const turnNow = () =>
  Math.max(
    0,
    ...readdirSync(folder).flatMap((file) =>
      file.startsWith(`${role}.`) ? [Number(file.split(".")[1]) || 0] : [],
    ),
  );

/** Makes the turn `turn` and leaves the state there, in one step; false when somebody else was first. */
function makeTurn(turn, state) {
  const own = join(folder, `tmp.${process.pid}`);
  writeFileSync(own, JSON.stringify(state));
  try {
    linkSync(own, join(folder, `${role}.${turn}`));
    return true;
  } catch {
    return false;
  } finally {
    rmSync(own, { force: true });
  }
}

function stateAt(turn) {
  try {
    return JSON.parse(readFileSync(join(folder, `${role}.${turn}`), "utf8"));
  } catch {
    return { iteration: 0, tokens: 0 };
  }
}

const sendOn = (on, value) => on?.write(`${JSON.stringify(value)}\n`);
const send = (value) => sendOn(socket, value);
/** `asked`: a request's id and the connection that it came on; its answer goes out there, or not at all. */
const ok = ({ id, on }, more = {}) =>
  sendOn(on, { id, ok: true, state: me.state, turn: me.turn, iteration: me.iteration, ...more });
const no = ({ id, on }, code, message, more = {}) => sendOn(on, { id, ok: false, code, message, ...more });

function attach(id) {
  if (me.state !== "new") return ok(id);
  me.state = "attaching";
  ok(id);
  if (!reach("attach")) return;
  setTimeout(() => {
    me.state = "ready";
    me.smCount = fault.smCount ?? smCountSeen();
    send({ event: "ready", smCount: me.smCount, tookMs: fault.attachMs ?? 0 });
    reach("ready");
  }, fault.attachMs ?? 0);
}

function iterate(id, turn, take) {
  if (me.state === "iterating" && me.turn === turn) return ok(id);
  if (!["ready", "armed", "handed_over"].includes(me.state)) return no(id, "bad_state", `it is ${me.state}`);
  const now = turnNow();
  const isRepeated = me.state === "armed" && me.turn === turn;
  if (turn < now || (turn === now && !isRepeated))
    return no(id, "stale_turn", `the turn is ${now}`, { turn: now });
  if (take && now < turn && !makeTurn(turn, stateAt(now)))
    return no(id, "stale_turn", "another made it first", { turn: turnNow() });
  me.state = "armed";
  me.turn = turn;
  ok(id);
  if (reach("armed")) void wait(turn, performance.now());
}

async function wait(turn, since) {
  while (me.state === "armed" && me.turn === turn && !life.hung) {
    const now = turnNow();
    if (now === turn) return run(turn, performance.now() - since);
    if (now > turn) return fenced();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

async function run(turn, waitedMs) {
  ({ iteration: me.iteration, tokens } = stateAt(turn));
  const from = me.iteration;
  me.state = "iterating";
  send({ event: "iterating", turn, iteration: me.iteration + 1, waitedMs });
  reach("iterating");
  let toldAt = 0;
  while (!life.hung) {
    await new Promise((resolve) => setTimeout(resolve, iterationMs));
    if (life.hung) return;
    if (fault.mute && existsSync(join(folder, "mute"))) return;
    if (turnNow() !== turn) return fenced();
    if (me.iteration !== fault.stillAt) {
      me.iteration += 1;
      tokens += 1;
    }
    const own = join(folder, `tmp.${process.pid}`);
    writeFileSync(
      own,
      JSON.stringify({ iteration: me.iteration, tokens, from, worker: env.FULCRUM_WORKER_ID }),
    );
    renameSync(own, join(folder, `${role}.${turn}`));
    if (performance.now() - toldAt > 200) {
      toldAt = performance.now();
      send({ event: "progress", iteration: me.iteration, tokens });
    }
    const isDue = handOver && (handOver.at === null || me.iteration >= handOver.at + lateBy);
    if (isDue && fault.handOver !== "never") return finishHandOver();
  }
}

function fenced() {
  me.state = "handed_over";
  send({ event: "fenced", turn: turnNow(), iteration: me.iteration });
  endHandOver(ok);
}

function endHandOver(answer) {
  const ids = handOver?.ids ?? [];
  handOver = null;
  for (const id of ids) answer(id);
}

function finishHandOver() {
  if (!reach("hand_over")) return;
  if (!makeTurn(handOver.turn, { iteration: me.iteration, tokens, from: me.iteration })) return fenced();
  me.state = "handed_over";
  endHandOver(ok);
}

function keep(id) {
  if (fault.keep === "too_late" && handOver) {
    handOver.at = 0;
    return void setTimeout(keep, 5 * iterationMs, id);
  }
  const isComing = me.state === "armed" && turnNow() >= me.turn;
  if (me.state === "handed_over" || isComing) return no(id, "too_late", `it is ${me.state}`);
  if (me.state === "armed") me.state = "ready";
  if (me.state === "handing_over") me.state = "iterating";
  endHandOver((asked) => no(asked, "kept", "it goes on"));
  ok(id);
}

function passOn(id, turn, at) {
  if (me.state === "handed_over" && turnNow() >= turn) return ok(id);
  if (me.state === "handing_over")
    return handOver.turn === turn ? void handOver.ids.push(id) : no(id, "bad_state", "it hands over already");
  if (me.state !== "iterating") return no(id, "bad_state", `it is ${me.state}`);
  if (turn <= turnNow()) return no(id, "stale_turn", `the turn is ${turnNow()}`, { turn: turnNow() });
  if (fault.handOver === "too_late" || (at !== null && at <= me.iteration))
    return no(id, "too_late", `iteration ${me.iteration} is past ${at}`);
  me.state = "handing_over";
  me.turn = turn;
  handOver = { ids: [id], turn, at };
}

const isCount = (value) => Number.isSafeInteger(value) && value >= 0;

function drain(id) {
  if (me.state === "iterating" || me.state === "handing_over")
    return no(id, "bad_state", `it is ${me.state}`);
  me.state = "draining";
  ok(id, { leases: 0 });
}

function take(request, on) {
  const { op, turn, at } = request;
  const id = { id: request.id, on };
  if (!Number.isSafeInteger(request.id)) return no({ id: null, on }, "bad_request", "no id");
  isTaken = true;
  const isTurn = isCount(turn) && turn >= 1;
  const isTake = ["undefined", "boolean"].includes(typeof request.take);
  const isAt = isCount(at ?? 0);
  if (op === "attach") return attach(id);
  if (op === "iterate" && isTurn && isTake) return iterate(id, turn, request.take === true);
  if (op === "hand_over" && isTurn && isAt) return passOn(id, turn, at ?? null);
  if (op === "keep") return keep(id);
  if (op === "drain") return drain(id);
  if (op === "leave") {
    ok(id);
    return void on.end(() => process.exit(0));
  }
  if (op === "status") return ok(id, { smCount: me.smCount, leases: 0 });
  return no(id, "bad_request", `no such request, or a wrong field: ${String(op)}`);
}

function takeLine(line, on) {
  const nobody = { id: null, on };
  let request;
  try {
    request = JSON.parse(line);
  } catch {
    return no(nobody, "bad_request", "not JSON");
  }
  if (typeof request !== "object" || request === null) return no(nobody, "bad_request", "not an object");
  if (request.type === "refused") return;
  if (fault.cut && !isCut && request.op === "hand_over") {
    isCut = true;
    return void socket.destroy();
  }
  trace(request.op);
  if (life.hung) return;
  take(request, on);
}

/** A request came on the connection that stands. */
let isTaken = false;
let takenAt = performance.now();

/** Since when no agent has had it decides; one that only refuses it does not count. */
function leaveIfAlone() {
  if (isTaken && !socket?.destroyed) takenAt = performance.now();
  const isBusy = me.state === "iterating" || me.state === "handing_over";
  if (!isBusy && !life.hung && performance.now() - takenAt > abandonMs) process.exit(0);
}

function open() {
  const triedAt = performance.now();
  const on = connect(env.FULCRUM_WORKER_SOCKET);
  isTaken = false;
  let buffered = "";
  on.on("connect", () => {
    // Not before: an event written while it connects would come ahead of the hello.
    socket = on;
    send({
      type: "hello",
      protocol: 1,
      worker: env.FULCRUM_WORKER_ID,
      pid: process.pid,
      role,
      rank: Number(env.FULCRUM_WORKER_RANK),
      generation: Number(env.FULCRUM_GENERATION),
      smPct,
      ...me,
    });
  });
  on.on("data", (chunk) => {
    buffered += chunk;
    for (let end = buffered.indexOf("\n"); end !== -1; end = buffered.indexOf("\n")) {
      const line = buffered.slice(0, end);
      buffered = buffered.slice(end + 1);
      if (line.length > 65_536) no({ id: null, on }, "bad_request", "a line must be at most 65536 bytes");
      else takeLine(line, on);
    }
    if (buffered.length > 10 * 65_536) on.destroy();
  });
  on.on("error", () => undefined);
  on.on("close", () => setTimeout(open, Math.max(100, triedAt + 1_000 - performance.now())));
}
process.on("SIGTERM", () => {
  trace("SIGTERM");
  if (fault.ignoreSigterm !== true && !life.hung) process.exit(0);
});
open();
setInterval(leaveIfAlone, 500);
