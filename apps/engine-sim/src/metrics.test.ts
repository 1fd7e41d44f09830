import { createInstance } from "@fulcrum/simulator/instance.js";
import type { SimEvent } from "@fulcrum/simulator/job.js";
import { expect, it } from "vitest";
import { loadProfile } from "./input-files.js";
import { EngineMetrics } from "./metrics.js";

const PROFILE = loadProfile("llama3-8b-a100");

/** Value by name, with the phase or mode label where there is one. */
function valuesOf(text: string): (name: string) => number {
  const values = new Map<string, number>();
  for (const line of text.split("\n")) {
    const match = /^([^\s#{]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    const label = /(?:phase|mode)="([^"]*)"/.exec(match?.[2] ?? "")?.[1];
    if (match) values.set(`${match[1]}${label === undefined ? "" : `[${label}]`}`, Number(match[3]));
  }
  return (name) => values.get(name) ?? Number.NaN;
}

/** Ten requests a second of 500 and 2,000 prompt tokens, at 60/40. */
function served(untilMs: number) {
  const initial = { split: { prefillSmPct: 60, decodeSmPct: 40 }, kvQuotaPct: 100, generation: 0 };
  const instance = createInstance({ profile: PROFILE, initial });
  for (let i = 0; i * 100 < untilMs; i += 1) {
    const promptTokens = i % 2 === 0 ? 500 : 2_000;
    instance.submit({ id: i, arrivalMs: i * 100, promptTokens, outputTokens: 20 + i });
  }
  const metrics = new EngineMetrics(PROFILE, false);
  const events: SimEvent[] = [];
  const upTo = async (ms: number) => {
    const news = instance.advanceTo(ms);
    events.push(...news);
    metrics.record(news);
    return valuesOf(await metrics.expose(instance.state()));
  };
  return { events, upTo };
}

it("tells what came in and went out as the requests themselves do", async () => {
  const { events, upTo } = served(6_000);
  const get = await upTo(5_950);
  const of = <T extends SimEvent["type"]>(type: T) =>
    events.filter((event): event is Extract<SimEvent, { type: T }> => event.type === type);
  const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
  expect(get("fulcrum:prompt_tokens_squared_total")).toBe(
    total(of("arrived").map(({ promptTokens }) => promptTokens ** 2)),
  );
  expect(of("finished").length).toBeGreaterThan(5);
  expect(get("fulcrum:finished_output_tokens_total")).toBe(
    total(of("finished").map(({ outputTokens }) => outputTokens)),
  );
  const firstTokens = of("first_token");
  expect(get("sglang:realtime_tokens_total[prefill_compute]")).toBeGreaterThanOrEqual(
    total(firstTokens.map(({ promptTokens }) => promptTokens)),
  );
  // Every token but the first ones comes of one sequence in one decode iteration.
  expect(get("fulcrum:decode_iteration_sequences_total")).toBe(
    get("sglang:generation_tokens_total") - firstTokens.length,
  );
});

it("tells times that fit each other: on the GPU at most the cap, both at once at most either", async () => {
  const get = await served(6_000).upTo(5_950);
  const busyS = (phase: string) => get(`fulcrum_sim:busy_seconds_total[${phase}]`);
  for (const [phase, cap] of [
    ["prefill", 0.6],
    ["decode", 0.4],
  ] as const) {
    const gpuS = get(`fulcrum:phase_gpu_seconds_total[${phase}]`);
    expect(gpuS).toBeGreaterThan(0);
    expect(gpuS).toBeLessThanOrEqual(busyS(phase) * cap);
    expect(get(`sglang:cuda_graph_passes_total[${phase}_none]`)).toBeGreaterThan(10);
  }
  const overlapS = get("fulcrum:overlap_seconds_total");
  expect(overlapS).toBeGreaterThan(0);
  expect(overlapS).toBeLessThanOrEqual(Math.min(busyS("prefill"), busyS("decode")));
  const contextTokens = get("fulcrum:decode_context_token_seconds_total") / busyS("decode");
  expect(contextTokens).toBeGreaterThan(500);
  expect(contextTokens).toBeLessThan(get("sglang:max_total_num_tokens"));
  expect(get("fulcrum:max_sequences")).toBe(PROFILE.maxBatch);
  expect(get("fulcrum:max_batch_tokens")).toBe(PROFILE.maxBatchedTokens);
});

it("shows the queue of prompts that wait and the wait of the first, and nothing once it is empty", async () => {
  const { events, upTo } = served(1_000);
  const NOW_MS = 910;
  const during = await upTo(NOW_MS);
  const after = await upTo(60_000);
  // Each first token tells afterwards how long its request had waited to be admitted.
  const waiting = events
    .filter((event) => event.type === "first_token")
    .map((event) => ({ ...event, arrivalMs: event.atMs - event.ttftMs }))
    .filter(({ arrivalMs, queuedMs }) => arrivalMs <= NOW_MS && arrivalMs + queuedMs > NOW_MS);
  expect(waiting.length).toBeGreaterThan(1);
  expect(during("sglang:num_queue_reqs")).toBe(waiting.length);
  const tokens = waiting.reduce((sum, { promptTokens }) => sum + promptTokens, 0);
  expect(during("fulcrum:prefill_waiting_tokens")).toBe(tokens);
  const firstMs = Math.min(...waiting.map(({ arrivalMs }) => arrivalMs));
  expect(during("fulcrum:oldest_wait_seconds")).toBeCloseTo((NOW_MS - firstMs) / 1000, 9);
  expect(after("fulcrum:prefill_waiting_tokens")).toBe(0);
  expect(after("fulcrum:oldest_wait_seconds")).toBe(0);
});

it("says which names are Fulcrum's own, and no counter falls from one scrape to the next", async () => {
  const { upTo } = served(3_000);
  const metrics = new EngineMetrics(PROFILE, false);
  const initial = { split: { prefillSmPct: 50, decodeSmPct: 50 }, kvQuotaPct: 100, generation: 0 };
  const idle = createInstance({ profile: PROFILE, initial });
  const helps = (await metrics.expose(idle.state()))
    .split("\n")
    .filter((l) => l.startsWith("# HELP fulcrum:"));
  expect(helps.length).toBeGreaterThan(5);
  for (const help of helps) expect(help).toContain("neither SGLang nor vLLM exports it");
  const counters = [
    "sglang:cuda_graph_passes_total[decode_none]",
    "fulcrum:phase_gpu_seconds_total[decode]",
    "fulcrum:phase_gpu_seconds_total[prefill]",
    "fulcrum:decode_context_token_seconds_total",
    "fulcrum:overlap_seconds_total",
  ];
  let before = counters.map(() => 0);
  for (let ms = 0; ms <= 3_000; ms += 7.3) {
    const get = await upTo(ms);
    const now = counters.map(get);
    now.forEach((value, i) => expect(value).toBeGreaterThanOrEqual(before[i] ?? 0));
    before = now;
  }
});

it("tells classes where it was asked to: each request counts in its own, and in all", async () => {
  const initial = { split: { prefillSmPct: 60, decodeSmPct: 40 }, kvQuotaPct: 100, generation: 0 };
  const instance = createInstance({ profile: PROFILE, initial });
  const metrics = new EngineMetrics(PROFILE, false, null, true);
  for (let id = 0; id < 30; id += 1) {
    const kind = id % 3 === 0 ? "document" : "chat";
    const request = {
      id,
      arrivalMs: id * 100,
      promptTokens: 500 + id,
      outputTokens: 20,
      ...(id === 1 ? {} : { kind }),
    };
    metrics.submitted(request);
    instance.submit(request);
  }
  metrics.record(instance.advanceTo(20_000));
  const text = await metrics.expose(instance.state());
  const valueOf = (name: string, kind: string) => {
    const line = text
      .split("\n")
      .find((each) => each.startsWith(`${name}{`) && each.includes(`class="${kind}"`));
    return Number(line?.split(" ").at(-1));
  };
  expect(valueOf("fulcrum:class_requests_arrived_total", "document")).toBe(10);
  // One request is of no kind.
  expect(valueOf("fulcrum:class_requests_arrived_total", "chat")).toBe(19);
  for (const [kind, count] of [
    ["document", 10],
    ["chat", 19],
  ] as const) {
    expect(valueOf("fulcrum:class_time_to_first_token_seconds_count", kind)).toBe(count);
    expect(valueOf("fulcrum:class_time_per_output_token_seconds_count", kind)).toBe(count);
  }
  const documents = Array.from({ length: 10 }, (_, i) => 500 + 3 * i);
  expect(valueOf("fulcrum:class_prompt_tokens_total", "document")).toBe(documents.reduce((a, b) => a + b, 0));
  expect(valueOf("fulcrum:class_prompt_tokens_squared_total", "document")).toBe(
    documents.reduce((a, b) => a + b ** 2, 0),
  );
});

it("tells no classes unless it was asked to", async () => {
  const { upTo } = served(1_000);
  const get = await upTo(900);
  expect(get("fulcrum:class_requests_arrived_total")).toBeNaN();
});
