/** Values as a person reads them. */
import type { Allocation, SloTarget } from "@fulcrum/core/nouns.js";

/** What is set to end in 1 h ends in 59 min 59.9 s when it is shown. */
const UPCOMING_ROUNDING_MS = 900;

/** "3 min ago", or "in 3 min" for an instant to come. */
export function ageWords(atMs: number, nowMs: number): string {
  const ms = nowMs - atMs;
  if (Math.abs(ms) < 1_000) return "just now";
  return ms > 0 ? `${durationWords(ms)} ago` : `in ${durationWords(UPCOMING_ROUNDING_MS - ms)}`;
}

/** An instant in words; "never" for null. */
export function agoOf(timestamp: string | null, nowMs: number): string {
  return timestamp === null ? "never" : ageWords(Date.parse(timestamp), nowMs);
}

/** The largest whole unit: "850 ms", "12 s", "3 min", "5 h", "1 day", "40 days". */
export function durationWords(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h`;
  const days = Math.floor(hours / 24);
  return days === 1 ? "1 day" : `${days} days`;
}

/** A latency: "312 ms", "1.24 s", "-" when nothing was measured. */
export function latencyWords(ms: number | null): string {
  if (ms === null) return "-";
  if (ms >= 10_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms >= 1_000) return `${(ms / 1_000).toFixed(2)} s`;
  return ms >= 100 ? `${Math.round(ms)} ms` : `${trimmed(ms, 1)} ms`;
}

/** A share 0..1 as "93.1 %"; "-" for null. */
export function shareWords(share: number | null): string {
  return share === null ? "-" : `${trimmed(share * 100, 1)} %`;
}

/** "p90", "p99.9". */
export function percentileWords(percentile: number): string {
  return `p${trimmed(percentile * 100, 3)}`;
}

/** The paper's (x, y) and the quota: "60/40 kv 100". */
export function allocationWords(allocation: Allocation | null): string {
  if (allocation === null) return "-";
  const { split, kvQuotaPct } = allocation;
  return `${trimmed(split.prefillSmPct, 2)}/${trimmed(split.decodeSmPct, 2)} kv ${trimmed(kvQuotaPct, 2)}`;
}

/** "TTFT p90 < 300 ms, TPOT p90 < 100 ms, 90 % of requests". */
export function sloWords(slo: SloTarget): string {
  const target = (name: string, { percentile, boundMs }: SloTarget["ttft"]) =>
    `${name} ${percentileWords(percentile)} < ${latencyWords(boundMs)}`;
  const own = [
    target("TTFT", slo.ttft),
    target("TPOT", slo.tpot),
    `${shareWords(slo.attainmentShare)} of requests`,
  ].join(", ");
  const below = (slo.classes ?? []).map(({ name }) => name);
  return below.length === 0 ? own : `${own}; then ${below.join(", ")}`;
}

/** At most `digits` decimals, without trailing zeros. */
export function trimmed(value: number, digits: number): string {
  return String(Number(value.toFixed(digits)));
}
