#!/usr/bin/env node
/**
 * A worker of the worker protocol without an engine: iterates by waiting, keeps its turn in a folder
 * (docs/worker-protocol.md, "A turn in a folder"), and fails where FAKE_FAULTS says. FAKE_FAULTS is a JSON file:
 * {"<role> <generation>": {"attachMs":0, "smCount":null, "die":"attach|ready|armed|iterating|hand_over", "hang":same}}.
 * FAKE_SM_COUNT: SMs of the GPU (108). FAKE_ITERATION_MS: 5. As with MPS, no pipe directory means no cap.
 */
import {
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
const fault = faultOf();
const me = { state: "new", turn: null, iteration: 0, smCount: null };
let tokens = 0;
let handOver = null;
let socket = null;
/** Hanging: it goes on reading and does nothing more. */
const life = { hung: false };
mkdirSync(folder, { recursive: true });

function faultOf() {
  try {
    const all = JSON.parse(readFileSync(env.FAKE_FAULTS, "utf8"));
    return all[`${role} ${env.FULCRUM_GENERATION}`] ?? {};
  } catch {
    return {};
  }
}

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

const send = (value) => socket?.write(`${JSON.stringify(value)}\n`);
const ok = (id, more = {}) =>
  send({ id, ok: true, state: me.state, turn: me.turn, iteration: me.iteration, ...more });
const no = (id, code, message, more = {}) => send({ id, ok: false, code, message, ...more });

function attach(id) {
  if (me.state !== "new") return ok(id);
  me.state = "attaching";
  ok(id);
  if (!reach("attach")) return;
  setTimeout(() => {
    me.state = "ready";
    const capped = Math.max(2, Math.floor((smPct / 100) * (total / 2) + 1e-9) * 2);
    const mps = env.CUDA_MPS_PIPE_DIRECTORY;
    me.smCount = fault.smCount ?? (mps !== undefined && !existsSync(mps) ? total : capped);
    send({ event: "ready", smCount: me.smCount, tookMs: fault.attachMs ?? 0 });
    reach("ready");
  }, fault.attachMs ?? 0);
}

function iterate(id, turn, take) {
  if (me.state === "iterating" && me.turn === turn) return ok(id);
  if (!["ready", "armed", "handed_over"].includes(me.state)) return no(id, "bad_state", `it is ${me.state}`);
  const now = turnNow();
  if (turn < now || (turn === now && me.turn !== turn))
    return no(id, "stale_turn", `the turn is ${now}`, { turn: now });
  me.state = "armed";
  me.turn = turn;
  if (take && now < turn) makeTurn(turn, stateAt(now));
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
  me.state = "iterating";
  send({ event: "iterating", turn, iteration: me.iteration + 1, waitedMs });
  reach("iterating");
  let toldAt = 0;
  while (!life.hung) {
    await new Promise((resolve) => setTimeout(resolve, iterationMs));
    if (life.hung) return;
    if (turnNow() !== turn) return fenced();
    me.iteration += 1;
    tokens += 1;
    const own = join(folder, `tmp.${process.pid}`);
    writeFileSync(own, JSON.stringify({ iteration: me.iteration, tokens, worker: env.FULCRUM_WORKER_ID }));
    renameSync(own, join(folder, `${role}.${turn}`));
    if (performance.now() - toldAt > 200) {
      toldAt = performance.now();
      send({ event: "progress", iteration: me.iteration, tokens });
    }
    if (handOver && (handOver.at === null || me.iteration >= handOver.at)) return finishHandOver();
  }
}

function fenced() {
  me.state = "handed_over";
  send({ event: "fenced", turn: turnNow(), iteration: me.iteration });
  if (handOver) for (const id of handOver.ids) ok(id);
  handOver = null;
}

function finishHandOver() {
  if (!reach("hand_over")) return;
  const { ids, turn } = handOver;
  makeTurn(turn, { iteration: me.iteration, tokens });
  me.state = "handed_over";
  handOver = null;
  for (const id of ids) ok(id);
}

function passOn(id, turn, at) {
  if (me.state === "handed_over" && turnNow() >= turn) return ok(id);
  if (me.state === "handing_over")
    return handOver.turn === turn ? void handOver.ids.push(id) : no(id, "bad_state", "it hands over already");
  if (me.state !== "iterating") return no(id, "bad_state", `it is ${me.state}`);
  if (turn <= turnNow()) return no(id, "stale_turn", `the turn is ${turnNow()}`, { turn: turnNow() });
  if (at !== null && at <= me.iteration) return no(id, "too_late", `iteration ${me.iteration} is past ${at}`);
  me.state = "handing_over";
  me.turn = turn;
  handOver = { ids: [id], turn, at };
}

function take(request) {
  const { id, op, turn } = request;
  const isTurn = Number.isInteger(turn) && turn >= 1;
  if (op === "attach") return attach(id);
  if (op === "iterate" && isTurn) return iterate(id, turn, request.take === true);
  if (op === "hand_over" && isTurn) return passOn(id, turn, request.at ?? null);
  if (op === "drain") {
    if (me.state === "iterating" || me.state === "handing_over")
      return no(id, "bad_state", `it is ${me.state}`);
    me.state = "draining";
    return ok(id, { leases: 0 });
  }
  if (op === "leave") {
    ok(id);
    return void socket.end(() => process.exit(0));
  }
  if (op === "status") return ok(id, { smCount: me.smCount, leases: 0 });
  return no(id ?? null, "bad_request", `no such request: ${String(op)}`);
}

function takeLine(line) {
  let request;
  try {
    request = JSON.parse(line);
  } catch {
    return no(null, "bad_request", "not JSON");
  }
  if (typeof request !== "object" || request === null) return no(null, "bad_request", "not an object");
  if (life.hung) return;
  take(request);
}

function open() {
  socket = connect(env.FULCRUM_WORKER_SOCKET);
  let buffered = "";
  socket.on("connect", () =>
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
    }),
  );
  socket.on("data", (chunk) => {
    buffered += chunk;
    for (let end = buffered.indexOf("\n"); end !== -1; end = buffered.indexOf("\n")) {
      const line = buffered.slice(0, end);
      buffered = buffered.slice(end + 1);
      if (line.length > 65_536) no(null, "bad_request", "a line must be at most 65536 bytes");
      else takeLine(line);
    }
    if (buffered.length > 10 * 65_536) socket.destroy();
  });
  socket.on("error", () => undefined);
  socket.on("close", () => setTimeout(open, 100));
}
process.on("SIGTERM", () => {
  if (fault.ignoreSigterm !== true && !life.hung) process.exit(0);
});
open();
