/** The one sentence of a decision, with its numbers. */
import type { Decision, GuardNote } from "./decision.js";
import { sameSplit, tidy } from "./allocation.js";
import type { Allocation, LatencyTarget, SloTarget } from "./nouns.js";
import type { PolicyOutcome } from "./policy/outcome.js";

export interface MoveWords {
  readonly outcome: PolicyOutcome;
  readonly from: Allocation;
  readonly to: Allocation;
  readonly notes: readonly GuardNote[];
  readonly predicted: Decision["predicted"];
  /** Null when the policy predicts nothing. */
  readonly slo: SloTarget | null;
}

/** `TTFT p90 812 ms is over 300 ms; prefill cap 50 -> 60, predicted TTFT p90 310 of 300 ms and TPOT p90 61 of 150 ms.` */
export function moveSentence(words: MoveWords): string {
  const { outcome, from, to, notes, predicted, slo } = words;
  const changes: string[] = [];
  const change = (what: string, before: number, after: number) => {
    if (before !== after) changes.push(`${what} ${tidy(before)} -> ${tidy(after)}`);
  };
  change("prefill cap", from.split.prefillSmPct, to.split.prefillSmPct);
  change("decode cap", from.split.decodeSmPct, to.split.decodeSmPct);
  change("KV quota", from.kvQuotaPct, to.kvQuotaPct);
  const moved = !sameSplit(from.split, to.split);
  const forecast = moved && predicted !== null && slo !== null ? forecastWords(predicted, slo) : "";
  return `${outcome.why}; ${changes.join(", ")}${forecast}${guardWords(notes)}.`;
}

export function holdSentence(outcome: PolicyOutcome, notes: readonly GuardNote[]): string {
  return `${outcome.why}${guardWords(notes)}${notes.length > 0 ? ", which leaves nothing to change" : ""}.`;
}

function forecastWords(predicted: NonNullable<Decision["predicted"]>, slo: SloTarget): string {
  const ttft = latencyWords("TTFT", predicted.ttftMs, slo.ttft, "no stable TTFT yet");
  const tpot = latencyWords("TPOT", predicted.tpotMs, slo.tpot, "TPOT unknown");
  return `, predicted ${ttft} and ${tpot}`;
}

function latencyWords(name: string, ms: number | null, target: LatencyTarget, unknown: string): string {
  if (ms === null) return unknown;
  return `${name} p${tidy(target.percentile * 100)} ${tidy(ms)} of ${tidy(target.boundMs)} ms`;
}

function guardWords(notes: readonly GuardNote[]): string {
  if (notes.length === 0) return "";
  return `, cut by the ${notes.map((note) => note.guard).join(", ")} guard${notes.length > 1 ? "s" : ""}`;
}
