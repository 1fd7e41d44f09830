/** Numbers and times as an operator reads them. A value that was not measured is an en dash, never a zero. */
import type { Allocation } from "@fulcrum/core/nouns.js";

export const NONE = "–";

/** `812 ms`, `1.24 s`, `2.0 min`. */
export function msText(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return NONE;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  if (ms < 7_200_000) return `${(ms / 60_000).toFixed(ms < 600_000 ? 1 : 0)} min`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

/** A share 0..1 as a percentage, cut and not rounded up: 99.97 % is not 100 %. */
export function shareText(share: number | null | undefined): string {
  if (share === null || share === undefined) return NONE;
  const pct = Math.floor(share * 1_000 + 1e-9) / 10;
  return `${Number.isInteger(pct) ? pct.toFixed(0) : pct.toFixed(1)} %`;
}

/** A difference of shares: `+4.2 points`. */
export function pointsText(share: number | null | undefined): string {
  if (share === null || share === undefined) return NONE;
  return `${share < 0 ? "−" : "+"}${Math.abs(share * 100).toFixed(1)} points`;
}

/** A count that may be a sum of shares: `12,345`, `12.3`. */
export function countText(count: number | null | undefined): string {
  if (count === null || count === undefined) return NONE;
  return count.toLocaleString("en-GB", { maximumFractionDigits: count < 100 ? 1 : 0 });
}

/** How many times: `2.4×`. */
export function timesText(times: number | null | undefined): string {
  if (times === null || times === undefined) return NONE;
  return `${times.toFixed(times < 100 ? 1 : 0)}×`;
}

export function pctText(pct: number | null | undefined): string {
  return pct === null || pct === undefined ? NONE : `${Number(pct.toFixed(1))} %`;
}

export function rateText(perS: number | null | undefined): string {
  if (perS === null || perS === undefined) return NONE;
  return perS >= 1_000 ? `${(perS / 1_000).toFixed(1)}k/s` : `${perS.toFixed(perS < 10 ? 1 : 0)}/s`;
}

/** `p90`, `p99.9`. */
export function percentileText(percentile: number): string {
  return `p${Number((percentile * 100).toFixed(3))}`;
}

/** `12 s ago`, `3 min ago`; the future is `in 4 min`. */
export function ageText(at: string | number, nowMs: number): string {
  const ms = nowMs - (typeof at === "number" ? at : Date.parse(at));
  if (Math.abs(ms) < 1_000) return "now";
  const words = spanText(Math.abs(ms));
  return ms < 0 ? `in ${words}` : `${words} ago`;
}

/** A span in its largest unit: `12 s`, `3 min`, `5 h`, `2 d`. */
export function spanText(ms: number): string {
  const units: readonly [number, string][] = [
    [86_400_000, "d"],
    [3_600_000, "h"],
    [60_000, "min"],
    [1_000, "s"],
  ];
  const [size, unit] = units.find(([one]) => ms >= one) ?? [1, "ms"];
  return `${Math.floor(ms / size)} ${unit}`;
}

/** `prefill 60 %, decode 40 %, KV quota 80 %`. */
export function allocationText({ split, kvQuotaPct }: Allocation): string {
  return `prefill ${pctText(split.prefillSmPct)}, decode ${pctText(split.decodeSmPct)}, KV quota ${pctText(kvQuotaPct)}`;
}

/** `60/40`, and the quota where it binds. */
export function splitText({ split, kvQuotaPct }: Allocation): string {
  const quota = kvQuotaPct < 100 ? ` · KV ${Number(kvQuotaPct.toFixed(1))}` : "";
  return `${Number(split.prefillSmPct.toFixed(1))}/${Number(split.decodeSmPct.toFixed(1))}${quota}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const FULL = new Intl.DateTimeFormat("en-GB", {
  year: "numeric",
  month: "short",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});

export function clockText(at: string | number): string {
  return CLOCK.format(new Date(at));
}

export function timeText(at: string | number): string {
  return FULL.format(new Date(at));
}

/** `rolled_back` -> `rolled back`, `StaleSignal` -> `stale signal`, `TTFT_MISSED` -> `TTFT missed`. */
export function wordsOf(code: string): string {
  return code
    .replace(/([a-z])([A-Z])/g, "$1 $2")
    .replaceAll("_", " ")
    .toLowerCase()
    .replaceAll(/\b(?:ttft|tpot|kv|slo|gpu|mps)\b/g, (word) => word.toUpperCase());
}

/** `1.5h`, `30m`, `45s`, `2d`; empty: null, for ever. Undefined where it is none of them. */
export function parseSpanMs(text: string): number | null | undefined {
  if (text.trim() === "") return null;
  const found = /^(\d+(?:\.\d+)?)\s*(s|m|min|h|d)$/.exec(text.trim());
  if (!found) return undefined;
  const size = { s: 1_000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 }[found[2]!]!;
  return Math.round(Number(found[1]) * size);
}
