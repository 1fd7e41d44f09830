/** Measured and published figures that the simulator is held against, with their source. Nothing here is simulated. */
import type { SloTarget } from "@fulcrum/core/nouns.js";
import type { Profile } from "@fulcrum/simulator/profile.js";

const PAPER = "semi-PD (arXiv 2504.19867)";

/** Table 2: the SLOs of Llama3-8B, TTFT / TPOT in ms. Tight is about 7.5 times a single request's latency. */
export const SLOS = {
  sharegptTight: slo(300, 150),
  sharegptLoose: slo(400, 200),
  longbenchTight: slo(2250, 130),
} as const;

function slo(ttftMs: number, tpotMs: number): SloTarget {
  return {
    ttft: { percentile: 0.9, boundMs: ttftMs },
    tpot: { percentile: 0.9, boundMs: tpotMs },
    attainmentShare: 0.9,
  };
}

export interface SingleRequest {
  readonly model: "8B" | "70B";
  readonly lengths: "sharegpt" | "longbench";
  readonly ttftMs: number;
  readonly tpotMs: number;
}

/** Table 2 over 7.5 (tight) and 10 (loose): what a request takes alone, as far as the SLOs tell. */
export const SINGLE_REQUESTS: readonly SingleRequest[] = [
  { model: "8B", lengths: "sharegpt", ttftMs: 40, tpotMs: 20 },
  { model: "8B", lengths: "longbench", ttftMs: 300, tpotMs: 17.5 },
  { model: "70B", lengths: "sharegpt", ttftMs: 112, tpotMs: 40 },
  { model: "70B", lengths: "longbench", ttftMs: 800, tpotMs: 40 },
];
export const SINGLE_REQUEST_SOURCE = `${PAPER}, Table 2, SLO / 7.5 and / 10`;

/** Fig 10, Llama3-8B on ShareGPT under load; shares 0..1. TTFT is 1 at a share of 1 when lambda is about 0.30. */
export const FIG10 = {
  lambda: 0.3,
  ttft: (share: number, lambda: number) => 0.6809 / (share - lambda) + 0.022,
  tpot: (share: number) => 0.6284 / share + 0.3818,
  source: `${PAPER}, Fig 10`,
} as const;

/** Fig 12, 8B ShareGPT, P90, read off the plot. */
export const FIG12 = {
  source: `${PAPER}, Fig 12 (read off)`,
  semiPd: [
    { ratePerS: 10.5, ttftMs: 155, tpotMs: 82 },
    { ratePerS: 16.5, ttftMs: 255, tpotMs: 165 },
  ],
} as const;

/** Fig 15, 8B ShareGPT at 16 requests per second and GPU: shares of requests within both bounds, read off the plot. */
export const FIG15 = {
  source: `${PAPER}, Fig 15 (read off)`,
  ratePerS: 16,
  tight: { dynamic: 0.92, both100: 0.53, distserve: 0.5, chunked: 0.17, prefillFirst: 0.07 },
  loose: { dynamic: 0.99, both100: 0.9 },
} as const;

/** KV of a token of Llama-3-8B in bf16, and what a pair of A100 exchanges over NVLink, 10^9 bytes per second one way. */
export const KV_BYTES_PER_TOKEN_8B = 131_072;
export const NVLINK_GB_PER_S = 300;

/** Coefficients of the published composed step times and medians for Llama-3-70B on four A100. */
export function llama70bTp4(base: Profile): Profile {
  return {
    name: "llama3-70b-tp4-a100",
    sources:
      "Kernels: fits to composed step times of Llama-3-70B TP4 (vidur @7d47513, aiconfigurator @095f58a). SM-share curves: medians of LLaMA-65B TP4 (MuxServe @2231480). Engine constants: 15 ms per prefill as for 8B, 10 ms per decode iteration from Table 2.",
    gpus: 4,
    smCount: 108,
    smPerTpc: 2,
    prefill: { kernelMs: [24.593, 0.183545, 4.836e-7], engineMs: 15, smShare: CURVES_65B_TP4.prefill },
    decode: { kernelMs: [31.19, 0.13752, 9.09e-5], engineMs: 10, smShare: CURVES_65B_TP4.decode },
    contention: base.contention,
    kvTotalTokens: 450_000,
    kvBlockTokens: 16,
    maxBatch: 512,
    maxBatchedTokens: 4096,
  };
}

/** LLaMA-65B TP4 under MPS on A100 (MuxServe): fits to medians. */
export const CURVES_65B_TP4 = {
  prefill: { small: { size: 256, a: 0.481, b: 0.509 }, large: { size: 4096, a: 0.569, b: 0.404 } },
  decode: { small: { size: 16, a: 0.116, b: 0.849 }, large: { size: 64, a: 0.468, b: 0.517 } },
} as const;

/** SGLang's predictor for 8B on A100 (commit 56f74d2): flatter; one curve for each phase, prefill 4096, decode 64 x 512. */
export const CURVES_SGLANG_8B = {
  prefill: { small: { size: 256, a: 0.426, b: 0.555 }, large: { size: 4096, a: 0.426, b: 0.555 } },
  decode: { small: { size: 16, a: 0.129, b: 0.844 }, large: { size: 64, a: 0.129, b: 0.844 } },
} as const;

/** One point of a benchmark: constant arrivals, lengths even within half and one and a half of their mean. */
export interface QueueingPoint {
  readonly ratePerS: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Means over requests. */
  readonly ttftMs: number;
  readonly itlMs: number;
}

/** Joint parameters of the 3-parameter model for Llama-3.1-8B on one H100, 128 points (ms). */
export const QUEUEING = {
  alpha: 6.7,
  beta: 0.020835,
  gamma: 4.914e-5,
  kvTokens: 447_936,
  source: "llm-inferno/model-trainer, experiments/exp1 (Llama-3.1-8B, vLLM, H100)",
  /** Published errors of the model itself against all 128 measurements, in percent. */
  modelMapePct: { ttft: 14.2, itl: 7.3 },
  allPoints: 128,
} as const;

/** Ten of the 128 measured points. */
export const QUEUEING_POINTS: readonly QueueingPoint[] = [
  { ratePerS: 0.15, inputTokens: 961, outputTokens: 974, ttftMs: 36.3, itlMs: 6.76 },
  { ratePerS: 2.94, inputTokens: 1035, outputTokens: 1012, ttftMs: 45.4, itlMs: 10.25 },
  { ratePerS: 4.97, inputTokens: 1028, outputTokens: 1020, ttftMs: 53.0, itlMs: 15.88 },
  { ratePerS: 17.0, inputTokens: 1026, outputTokens: 257, ttftMs: 51.3, itlMs: 20.4 },
  { ratePerS: 28.7, inputTokens: 1029, outputTokens: 64, ttftMs: 48.6, itlMs: 25.1 },
  { ratePerS: 38.2, inputTokens: 257, outputTokens: 257, ttftMs: 41.1, itlMs: 17.95 },
  { ratePerS: 90, inputTokens: 257, outputTokens: 64, ttftMs: 47.0, itlMs: 23.1 },
  { ratePerS: 1.94, inputTokens: 4069, outputTokens: 1039, ttftMs: 136.7, itlMs: 20.7 },
  { ratePerS: 4.92, inputTokens: 4104, outputTokens: 256, ttftMs: 130.6, itlMs: 26.4 },
  { ratePerS: 176.5, inputTokens: 65, outputTokens: 64, ttftMs: 40.6, itlMs: 17.5 },
];
