import type { EngineName } from "@fulcrum/core/signal/bucket-advice.js";
import type { Clock } from "../clock.js";
import type { InstanceConfig } from "../config.js";
import { DYNAMO } from "./dynamo-metrics.js";
import type { EngineMetrics } from "./engine-metrics.js";
import type { EngineReader } from "./engine-reader.js";
import { PageReader } from "./page-reader.js";
import { SGLANG } from "./sglang-metrics.js";
import { TRTLLM } from "./trtllm-metrics.js";
import { VLLM } from "./vllm-metrics.js";

const ENGINE_METRICS: Readonly<Record<EngineName, EngineMetrics>> = {
  sglang: SGLANG,
  vllm: VLLM,
  dynamo: DYNAMO,
  trtllm: TRTLLM,
};

export function createReader({ reader }: Pick<InstanceConfig, "reader">, clock: Clock): EngineReader {
  const { type, url, urls, timeoutMs, model } = reader;
  const all = [...(url === undefined ? [] : [url]), ...(urls ?? [])];
  return new PageReader({ metrics: ENGINE_METRICS[type], urls: all, timeoutMs, model }, clock);
}
