import type { LatencyTarget, SloTarget } from "@fulcrum/core/nouns.js";
import type { Percentile } from "@fulcrum/core/signal/histogram.js";
import { cutText } from "../text/table.js";
import { oneLine } from "../text/visible.js";
import { ageWords, latencyWords, percentileWords, shareWords, trimmed } from "../text/words.js";
import { finishedOf, shareOfFinished } from "./engine-counts.js";
import type { LaneView } from "./observe-lanes.js";

export interface DemoView {
  readonly elapsedS: number;
  readonly durationS: number;
  readonly speed: number;
  readonly slo: SloTarget;
  readonly lanes: readonly LaneView[];
  readonly nowMs: number;
}

const BAR_WIDTH = 12;
const DECISION_LINES = 2;

/**
 * Lines of at most `width` characters: two for the head, six for a lane that decides, three for one that is fixed,
 * two for the foot. With the demo's four lanes 22, so that a terminal of 24 rows shows all.
 */
export function liveLines(view: DemoView, width: number): string[] {
  const { elapsedS, durationS, slo } = view;
  const time =
    elapsedS < 0 ? `starts in ${Math.ceil(-elapsedS)} s` : `${Math.floor(elapsedS)} s of ${durationS} s`;
  const lines = [
    `fulcrum demo   ${time}, engines run at ${trimmed(view.speed, 2)}x; Ctrl-C stops`,
    `SLO: TTFT ${targetWords(slo.ttft)}, TPOT ${targetWords(slo.tpot)}`,
  ];
  for (const lane of view.lanes) lines.push("", ...laneLines(lane, view, width));
  lines.push("", "latencies in engine time; bars: # delivered, + asked and not yet there");
  return lines.map((line) => cutText(line.trimEnd(), width));
}

function laneLines(view: LaneView, { slo, nowMs }: DemoView, width: number): string[] {
  const { lane, instance, counts } = view;
  const load = view.arrivalPerS === null ? "- req/s" : `${trimmed(view.arrivalPerS, 1)} req/s`;
  const both = counts === null ? null : shareOfFinished(counts, ["both"]);
  const done = counts === null ? 0 : finishedOf(counts);
  const asked = instance?.desired.split;
  const got = instance?.observed?.split;
  const bars = [
    barText("prefill", asked?.prefillSmPct, got?.prefillSmPct),
    barText("decode", asked?.decodeSmPct, got?.decodeSmPct),
  ];
  const head = [
    `${`${lane.name}: ${lane.about}`.padEnd(48)}${load.padEnd(12)}${`KV ${shareWords(view.kvShare)}`.padEnd(10)}${generationText(view)}`,
    `  ${latencyText("TTFT", view.ttft, slo.ttft)}${latencyText("TPOT", view.tpot, slo.tpot)}both ${shareWords(both)} of ${done}`,
  ];
  if (lane.policy.name === "static") return head;
  return [
    ...head,
    `  ${bars.join("  ")}`,
    ...wrapped(decisionText(view, nowMs), width - 2, DECISION_LINES).map((line) => `  ${line}`),
  ];
}

function targetWords({ percentile, boundMs }: LatencyTarget): string {
  return `${percentileWords(percentile)} < ${latencyWords(boundMs)}`;
}

function latencyText(name: string, seen: Percentile | null, target: LatencyTarget): string {
  const label = `${name} ${percentileWords(target.percentile)}`;
  if (seen === null) return `${label} -`.padEnd(26);
  const verdict = seen.ms < target.boundMs && !seen.overflow ? "ok" : "OVER";
  return `${label} ${seen.overflow ? ">" : ""}${latencyWords(seen.ms)} ${verdict}`.padEnd(26);
}

function barText(phase: string, asked: number | undefined, got: number | undefined): string {
  const number = (value: number | undefined) => (value === undefined ? "-" : trimmed(value, 1));
  return `${phase} ${number(asked)} got ${number(got)}`.padEnd(21) + ` ${bar(asked, got)}`;
}

function bar(asked = 0, delivered = 0): string {
  const cells = (pct: number) => Math.min(BAR_WIDTH, Math.round((pct / 100) * BAR_WIDTH));
  const full = "#".repeat(cells(delivered));
  const missing = "+".repeat(Math.max(0, cells(asked) - full.length));
  return `[${(full + missing).padEnd(BAR_WIDTH, ".")}]`;
}

/** "gen 3", with a star while a rollout is under way. */
function generationText({ instance }: LaneView): string {
  if (instance === null) return "";
  const { desired, rollout } = instance;
  const open = rollout !== null && !["verified", "failed", "rolled_back", "superseded"].includes(rollout);
  return `gen ${desired.generation}${open ? "*" : ""}`;
}

function decisionText({ instance }: LaneView, nowMs: number): string {
  const last = instance?.lastDecision ?? null;
  if (last === null) return "no decision yet";
  return `${ageWords(Date.parse(last.at), nowMs)}, ${last.kind} ${last.reason}: ${oneLine(last.message)}`;
}

/** Broken at blanks into exactly `count` lines; the last is cut. */
export function wrapped(text: string, width: number, count: number): string[] {
  const lines: string[] = [];
  let rest = text;
  while (lines.length < count - 1 && rest.length > width) {
    const at = rest.lastIndexOf(" ", width);
    const end = at > 0 ? at : width;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  lines.push(cutText(rest, width));
  while (lines.length < count) lines.push("");
  return lines;
}
