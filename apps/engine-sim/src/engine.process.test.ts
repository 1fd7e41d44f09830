import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";

const MAIN = fileURLToPath(new URL("../dist/main.js", import.meta.url));
/** How long a process may take for one thing before the test gives up. */
const LIMIT_MS = 30_000;

const folder = mkdtempSync(join(tmpdir(), "engine-sim-"));
const children = new Set<ChildProcess>();
let socket = "";
let serial = 0;
beforeEach(() => {
  socket = join(folder, `e${(serial += 1)}.sock`);
});
afterEach(async () => {
  for (const child of children) await kill(child, "SIGKILL");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ready {
  readonly event: string;
  readonly port: number;
  readonly socket: string;
  readonly name: string;
  readonly bootId: string;
}

function launch(...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [MAIN, "--socket", socket, ...args], { stdio: "pipe" });
  children.add(child);
  child.once("exit", () => children.delete(child));
  return child;
}

async function readyOf(child: ChildProcess): Promise<Ready> {
  if (child.stdout === null) throw new Error("no stdout");
  const lines = createInterface({ input: child.stdout });
  const [line] = (await once(lines, "line", { signal: AbortSignal.timeout(LIMIT_MS) })) as [string];
  return JSON.parse(line) as Ready;
}

async function start(...args: string[]): Promise<{ child: ChildProcess; ready: Ready }> {
  const child = launch(...args);
  return { child, ready: await readyOf(child) };
}

async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const exited = once(child, "exit", { signal: AbortSignal.timeout(LIMIT_MS) });
  child.kill(signal);
  const [code] = (await exited) as [number | null];
  return code;
}

interface Answer {
  readonly id: number | string | null;
  readonly ok: boolean;
  readonly code?: string;
  readonly field?: string;
  readonly message?: string;
  readonly state?: {
    readonly generation: number;
    readonly phase: string;
    readonly delivered: object;
    readonly asked: object;
    readonly prepared: { readonly generation: number; readonly ready: boolean } | null;
    readonly bootId: string;
    readonly engineTimeMs: number;
    readonly iterations: { readonly prefill: number; readonly decode: number };
    readonly armed: object | null;
    readonly switchedAt: object | null;
  };
}

/** Sends the requests as one write and returns their answers in order. */
async function ask(...requests: (object | string)[]): Promise<Answer[]> {
  const client = connect(socket);
  const lines = createInterface({ input: client });
  client.write(
    requests
      .map((request) => (typeof request === "string" ? request : JSON.stringify(request)) + "\n")
      .join(""),
  );
  const answers: Answer[] = [];
  const limit = setTimeout(() => client.destroy(new Error("no answer")), LIMIT_MS);
  for await (const line of lines) {
    answers.push(JSON.parse(line) as Answer);
    if (answers.length === requests.length) break;
  }
  clearTimeout(limit);
  client.destroy();
  return answers;
}

async function observeUntil(
  done: (state: NonNullable<Answer["state"]>) => boolean,
): Promise<Answer["state"]> {
  for (const deadline = Date.now() + LIMIT_MS; Date.now() < deadline;) {
    const [answer] = await ask({ id: "o", op: "observe" });
    if (answer?.state !== undefined && done(answer.state)) return answer.state;
  }
  throw new Error("the engine never got there");
}

async function scrape(port: number): Promise<Map<string, number>> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(LIMIT_MS) });
  const values = new Map<string, number>();
  for (const line of (await response.text()).split("\n")) {
    const match = /^([^\s#][^{]*)(\{.*\})? (\S+)$/.exec(line);
    if (match === null) continue;
    const [, name = "", labels = "", value] = match;
    const own = [...labels.matchAll(/(le|phase|kind)="([^"]*)"/g)].map(([, , text]) => text).join(",");
    values.set(own === "" ? name : `${name}[${own}]`, Number(value));
  }
  return values;
}

/** Scrapes until a metric reaches a value; the last scrape. */
async function scrapeUntil(port: number, name: string, least: number): Promise<Map<string, number>> {
  for (const deadline = Date.now() + LIMIT_MS; Date.now() < deadline;) {
    const values = await scrape(port);
    if ((values.get(name) ?? 0) >= least) return values;
  }
  throw new Error(`${name} never reached ${least}`);
}

const prepare = (generation: number, change: object = {}) => ({
  id: generation,
  op: "prepare",
  generation,
  prefillSmPct: 61,
  decodeSmPct: 40,
  kvQuotaPct: 90,
  ...change,
});

describe("an engine's metrics", () => {
  it("grow under SGLang's names, and agree with each other", async () => {
    const { ready } = await start("--speed", "50", "--name", "e1");
    expect(ready).toMatchObject({ event: "ready", socket, name: "e1" });
    const values = await scrapeUntil(ready.port, "sglang:num_requests_total", 50);
    const get = (name: string): number => values.get(name) ?? Number.NaN;
    const finished = get("sglang:num_requests_total");
    expect(get("fulcrum_sim:requests_arrived_total")).toBeGreaterThanOrEqual(finished);
    expect(get("sglang:e2e_request_latency_seconds_count")).toBe(finished);
    expect(get("sglang:time_to_first_token_seconds_bucket[+Inf]")).toBe(
      get("sglang:time_to_first_token_seconds_count"),
    );
    // Every token is a request's first or has a time since the one before.
    expect(get("sglang:generation_tokens_total")).toBe(
      get("sglang:time_to_first_token_seconds_count") + get("sglang:inter_token_latency_seconds_count"),
    );
    expect(get("fulcrum_sim:request_time_per_output_token_seconds_count")).toBeLessThanOrEqual(finished);
    expect(get("sglang:token_usage")).toBeCloseTo(
      get("sglang:num_used_tokens") / get("sglang:max_total_num_tokens"),
      9,
    );
    expect(get("fulcrum_sim:busy_seconds_total[decode]")).toBeLessThanOrEqual(
      get("fulcrum_sim:clock_seconds"),
    );
    expect(get("fulcrum_sim:split_pct[prefill,delivered]")).toBe(100);
    expect(get("sglang:num_running_reqs")).toBeGreaterThan(0);
    expect(values.has("sglang:time_to_first_token_seconds_bucket[0.3]")).toBe(false);
    const later = await scrapeUntil(ready.port, "sglang:num_requests_total", finished + 10);
    expect(later.get("sglang:prompt_tokens_total")).toBeGreaterThan(get("sglang:prompt_tokens_total"));
  });

  it("put the usual targets on bounds with --fine-buckets", async () => {
    const { ready } = await start("--fine-buckets");
    const values = await scrape(ready.port);
    for (const bound of [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5]) {
      expect(values.has(`sglang:time_to_first_token_seconds_bucket[${bound}]`)).toBe(true);
      expect(values.has(`fulcrum_sim:request_time_per_output_token_seconds_bucket[${bound}]`)).toBe(true);
      expect(values.has(`sglang:inter_token_latency_seconds_bucket[${bound}]`)).toBe(true);
    }
    const health = await fetch(`http://127.0.0.1:${ready.port}/health`);
    expect(health.status).toBe(200);
  });

  it("count the same arrivals in two engines with one seed and one start", async () => {
    // The trace ends, so that both engines come to rest at the same counts.
    const trace = join(folder, "burst.csv");
    const rows = Array.from(
      { length: 20 },
      (_, i) => `2026-01-01 00:00:0${Math.floor(i / 4)}.0000000,${i + 1},2`,
    );
    writeFileSync(trace, ["TIMESTAMP,ContextTokens,GeneratedTokens", ...rows].join("\n"));
    const startAt = ["--start-at", String(Date.now() + 1500)];
    const load = ["--trace", trace, "--trace-format", "azure", "--once", "--speed", "100"];
    const first = await start(...load, ...startAt);
    socket += "2";
    const second = await start(...load, ...startAt);
    for (const { ready } of [first, second]) {
      const values = await scrapeUntil(ready.port, "sglang:num_requests_total", 20);
      expect(values.get("fulcrum_sim:requests_arrived_total")).toBe(20);
      expect(values.get("fulcrum_sim:arrived_prompt_tokens_total")).toBe(210);
    }
  });

  it("show the same arrivals at the same engine time from one seed", async () => {
    // Arrivals by engine time are compared where two scrapes of different engines bracket each other.
    const common = ["--start-at", String(Date.now() + 1500), "--seed", "9", "--speed", "20"];
    const first = await start(...common);
    socket += "2";
    const second = await start(...common);
    await scrapeUntil(second.ready.port, "fulcrum_sim:requests_arrived_total", 100);
    const before = await scrape(first.ready.port);
    const between = await scrape(second.ready.port);
    const after = await scrape(first.ready.port);
    for (const name of ["fulcrum_sim:requests_arrived_total", "fulcrum_sim:arrived_prompt_tokens_total"]) {
      expect(between.get(name)).toBeGreaterThanOrEqual(before.get(name) ?? Number.NaN);
      expect(between.get(name)).toBeLessThanOrEqual(after.get(name) ?? Number.NaN);
    }
  });
});

describe("an engine's control socket", () => {
  it("prepares, commits and reads back whole TPCs", async () => {
    const { ready } = await start("--speed", "20", "--prepare-ms", "1000");
    const [probed, prepared, early] = await ask({ id: "p", op: "probe" }, prepare(4), {
      id: 5,
      op: "commit",
      generation: 4,
    });
    expect(probed).toMatchObject({
      id: "p",
      ok: true,
      capabilities: { live: true, maxSumPct: 200, smCount: 108, smPerTpc: 2, prepareMs: 1000 },
    });
    expect(prepared).toMatchObject({
      id: 4,
      ok: true,
      state: { generation: 0, phase: "preparing", prepared: { generation: 4, ready: false } },
    });
    expect(early).toMatchObject({ id: 5, ok: false, code: "not_ready" });
    await observeUntil((state) => state.prepared?.ready === true);
    await ask({ id: 6, op: "commit", generation: 4 });
    const steady = await observeUntil((state) => state.phase === "steady");
    // 61 % of 54 TPCs are 32.94: 32 are delivered. 40 % are 21.6: 21.
    expect(steady).toMatchObject({
      generation: 4,
      asked: { prefillSmPct: 61, decodeSmPct: 40, kvQuotaPct: 90 },
      delivered: { prefillSmPct: 59.26, decodeSmPct: 38.89, kvQuotaPct: 90 },
      prepared: null,
      bootId: ready.bootId,
    });
  });

  it("switches each worker at the end of the iteration that is named for it, and refuses one that is past", async () => {
    await start("--prepare-ms", "0", "--speed", "20");
    const [prepared] = await ask(prepare(4));
    const { prefill, decode } = prepared!.state!.iterations;
    const at = { prefill: prefill + 4_000, decode: decode + 8_000 };
    const answers = await ask(
      { id: 1, op: "commit", generation: 4, at: { prefill: 0, decode: at.decode } },
      { id: 2, op: "commit", generation: 4, at: { prefill: 1.5, decode: at.decode } },
      { id: 3, op: "commit", generation: 4, at },
      { id: 4, op: "commit", generation: 4, at },
    );
    expect(answers.slice(0, 2)).toMatchObject([
      { ok: false, code: "too_late", state: { phase: "preparing", armed: null } },
      { ok: false, code: "out_of_bounds", field: "at.prefill" },
    ]);
    for (const answer of answers.slice(2)) {
      const armed = { phase: "preparing", prepared: { generation: 4, ready: true }, armed: at };
      expect(answer).toMatchObject({ ok: true, state: armed });
    }
    expect(await observeUntil((state) => state.generation === 4)).toMatchObject({
      phase: "steady",
      armed: null,
      switchedAt: at,
    });
  });

  it("has nothing to prepare for a change that replaces no worker", async () => {
    await start("--prepare-ms", "3600000", "--speed", "20");
    const [before] = await ask({ id: 0, op: "observe" });
    const answers = await ask(prepare(4, { ...before!.state!.asked, kvQuotaPct: 50 }), prepare(5));
    expect(answers.map(({ state }) => state?.prepared)).toEqual([
      { generation: 4, ready: true },
      { generation: 5, ready: false },
    ]);
  });

  it("refuses what is stale, out of bounds or not understood, and says why", async () => {
    await start("--prepare-ms", "0", "--speed", "20");
    await ask(prepare(4), { id: 1, op: "commit", generation: 4 });
    await observeUntil((state) => state.phase === "steady" && state.generation === 4);
    const answers = await ask(
      prepare(3),
      prepare(4),
      prepare(5, { decodeSmPct: 3 }),
      prepare(5, { kvQuotaPct: 101 }),
      { id: 7, op: "explode" },
      "{",
      { id: 8, op: "commit", generation: 3 },
    );
    expect(answers).toMatchObject([
      { id: 3, ok: false, code: "stale_generation", state: { generation: 4 } },
      { id: 4, ok: true, state: { phase: "steady", prepared: null } },
      {
        ok: false,
        code: "out_of_bounds",
        field: "decodeSmPct",
        message: "decodeSmPct must be 5..100, got 3",
      },
      { ok: false, code: "out_of_bounds", field: "kvQuotaPct" },
      { id: 7, ok: false, code: "bad_request" },
      { id: null, ok: false, code: "bad_request" },
      { id: 8, ok: false, code: "stale_generation" },
    ]);
  });

  it("fails and hangs on demand, once", async () => {
    await start("--prepare-ms", "0", "--speed", "20");
    const answers = await ask(
      { id: 1, op: "faults", prepareFail: 1, prepareHangMs: 3_600_000 },
      prepare(1),
      { id: 2, op: "faults", prepareHangMs: 3_600_000 },
      prepare(2),
      { id: 3, op: "commit", generation: 2 },
      { id: 4, op: "abort", generation: 2 },
      { id: 5, op: "faults", switchHangMs: 3_600_000 },
      prepare(3),
      { id: 6, op: "commit", generation: 3 },
      prepare(4),
      { id: 7, op: "commit", generation: 4 },
    );
    expect(answers.map((answer) => answer.code ?? answer.state?.phase)).toEqual([
      "steady",
      "prepare_failed",
      "steady",
      "preparing",
      "not_ready",
      "steady",
      "steady",
      "preparing",
      "switching",
      "switching",
      "not_ready",
    ]);
  });

  it("cuts off a line without an end", async () => {
    await start();
    const client = connect(socket);
    const lines = createInterface({ input: client });
    client.write("x".repeat(70_000));
    const [line] = (await once(lines, "line", { signal: AbortSignal.timeout(LIMIT_MS) })) as [string];
    expect(JSON.parse(line)).toMatchObject({ ok: false, code: "bad_request" });
    if (!client.closed) await once(client, "close", { signal: AbortSignal.timeout(LIMIT_MS) });
  });
});

describe("an engine's life", () => {
  it("starts again on the socket that a killed one left behind, with a new boot id", async () => {
    const first = await start("--prepare-ms", "0", "--speed", "20");
    await ask(prepare(7), { id: 1, op: "commit", generation: 7 });
    await kill(first.child, "SIGKILL");
    expect(existsSync(socket)).toBe(true);
    const second = await start();
    expect(second.ready.bootId).not.toBe(first.ready.bootId);
    const [answer] = await ask({ id: 1, op: "observe" });
    expect(answer?.state).toMatchObject({ generation: 0, bootId: second.ready.bootId });
  });

  it("leaves no socket after SIGTERM", async () => {
    const { child } = await start();
    expect(await kill(child, "SIGTERM")).toBe(0);
    expect(existsSync(socket)).toBe(false);
  });

  it("does not take the socket of a living engine", async () => {
    await start();
    const second = launch();
    let stderr = "";
    second.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    const [code] = (await once(second, "close", { signal: AbortSignal.timeout(LIMIT_MS) })) as [number];
    expect(code).toBe(1);
    expect(stderr).toContain("is in use by a living engine");
    expect(await ask({ id: 1, op: "observe" })).toMatchObject([{ ok: true }]);
  });

  it("ends with its parent when asked to", async () => {
    const { child } = await start("--exit-with-parent");
    const exited = once(child, "exit", { signal: AbortSignal.timeout(LIMIT_MS) });
    child.stdin?.end();
    expect(await exited).toEqual([0, null]);
    expect(existsSync(socket)).toBe(false);
  });

  it("joins late at the engine time that it then is", async () => {
    const { ready } = await start("--start-at", String(Date.now() - 60_000));
    const values = await scrape(ready.port);
    expect(values.get("fulcrum_sim:clock_seconds")).toBeGreaterThanOrEqual(60);
    // Some 500 chats came in the first minute; this engine never saw them.
    expect(values.get("fulcrum_sim:requests_arrived_total")).toBeLessThan(400);
  });

  it("names the wrong flag and exits with 2", async () => {
    const child = launch("--speed", "fast");
    let stderr = "";
    child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    const [code] = (await once(child, "close", { signal: AbortSignal.timeout(LIMIT_MS) })) as [number];
    expect(code).toBe(2);
    expect(stderr).toContain("--speed must be a number 0.01..1000, got fast");
  });
});
