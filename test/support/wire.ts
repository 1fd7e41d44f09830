/** What goes over the wire in tests: small, valid, and changed one field at a time. */
import type { Ack, InstanceReport, Registration, Report } from "@fulcrum/contracts/agent-api.js";
import { poolInput, type PoolInput } from "@fulcrum/contracts/pools.js";
import { sampleWindow } from "@fulcrum/core/fixtures.js";
import { type Allocation, WIDEST_LIMITS, type Window, type WindowWork } from "@fulcrum/core/nouns.js";
import type { z } from "zod";

export const RUNNING: Allocation = { split: { prefillSmPct: 50, decodeSmPct: 50 }, kvQuotaPct: 100 };

/** An allocation with that prefill share; decode gets the rest. */
export function splitAt(prefillSmPct: number): Allocation {
  return { split: { prefillSmPct, decodeSmPct: 100 - prefillSmPct }, kvQuotaPct: 100 };
}

export const SLO = {
  ttft: { percentile: 0.9, boundMs: 300 },
  tpot: { percentile: 0.9, boundMs: 100 },
  attainmentShare: 0.9,
};

/** A pool that enforces a fixed split: its decisions need no signal, so tests say when one is made. */
export function staticPool(name: string, target: Allocation, over: Partial<PoolBody> = {}): PoolBody {
  return poolBody(name, {
    mode: "enforce",
    policy: { name: "static", params: { allocation: target } },
    guards: { maxStepPct: 99 },
    controlIntervalMs: 200,
    ...over,
  });
}

export type PoolBody = z.input<typeof poolInput>;

export function poolBody(name: string, over: Partial<PoolBody> = {}): PoolBody {
  return { name, model: "llama-3-8b", slo: SLO, ...over };
}

export type { PoolInput };

type Entry = Registration["instances"][number];

export function registrationEntry(instance: string, pool: string, over: Partial<Entry> = {}): Entry {
  return {
    instance,
    pool,
    ranks: [0],
    rankCount: 1,
    capabilities: {
      driver: "simulated",
      live: true,
      limits: WIDEST_LIMITS,
      prepareMs: null,
      smCount: 132,
    },
    generation: 0,
    running: RUNNING,
    ...over,
  };
}

export function registration(agent: string, instances: Entry[], sentAtMs = Date.now()): Registration {
  return { agent, node: `node-of-${agent}`, agentVersion: "0.0.0-test", sentAtMs, instances };
}

/** One window that has just ended, at generation 0 unless told. */
export function wireWindow(seq: number, over: Partial<Window> = {}): Window {
  return sampleWindow({ seq, endAtMs: over.endAtMs ?? Date.now(), generation: 0, ...over });
}

/** What an engine that tells everything a counter can tell did in a window. */
export const WORK: WindowWork = {
  promptTokensSq: 4_100_000,
  maxPromptTokens: null,
  finishedOutputTokens: 15_000,
  prefillBatches: 25,
  prefillTokens: 12_600,
  decodeSteps: 160,
  decodeStepMeanMs: 31.25,
  decodeBatchMean: 93.75,
  decodeContextMean: 50_000.5,
  overlapShare: 0.55,
  prefillGpuShare: 0.3,
  decodeGpuShare: 0.5,
  prefillWaitingTokens: 250,
  oldestWaitMs: 12.5,
  decodeWaiting: 0,
  maxSequences: 256,
  maxBatchTokens: 8_192,
};

export function instanceReport(
  instance: string,
  windows: readonly Window[],
  over: Partial<InstanceReport> = {},
): InstanceReport {
  return {
    instance,
    windows: windows as InstanceReport["windows"],
    observed: { ...RUNNING, generation: 0 },
    conditions: [],
    ...over,
  };
}

export function report(agent: string, instances: InstanceReport[], sentAtMs = Date.now()): Report {
  return { agent, sentAtMs, instances };
}

export function ack(instance: string, generation: number, step: Ack["step"], over: Partial<Ack> = {}): Ack {
  return {
    instance,
    rank: 0,
    generation,
    attempt: 1,
    step,
    atMs: Date.now(),
    delivered: null,
    failure: null,
    ...over,
  };
}
