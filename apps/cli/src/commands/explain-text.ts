/** A decision as a story, in the order in which it happened: seen, weighed, chosen, cut, rolled out, turned out. */
import type { DecisionResource, ReconfigurationResource } from "@fulcrum/contracts/resources.js";
import { approvedWords, unmadeWords } from "@fulcrum/contracts/unmade-words.js";
import type { Decision, Snapshot } from "@fulcrum/core/decision.js";
import type { LatencyTarget } from "@fulcrum/core/nouns.js";
import {
  ageWords,
  allocationWords,
  durationWords,
  latencyWords,
  percentileWords,
  shareWords,
  trimmed,
} from "../text/words.js";
import { oneLine } from "../text/visible.js";
import { candidatesTable, pairOfLatencies } from "./decision-text.js";

/** `width` is the terminal's, which the table of candidates is cut to; null leaves it whole. */
export function explainText(
  row: DecisionResource,
  rollout: ReconfigurationResource | null,
  nowMs: number,
  width: number | null,
): string {
  // Any part may be missing in a row that another version wrote.
  const decision = row.decision as Partial<Decision>;
  const snapshot = row.snapshot as Partial<Snapshot>;
  const { candidates } = decision;
  return [
    `${row.at} (${ageWords(Date.parse(row.at), nowMs)}): ${row.kind} ${row.reason} for ${row.instance} of pool ${row.pool}, ` +
      `mode ${row.mode}, policy ${row.policy.name} version ${row.policy.version}.`,
    `Seen: ${seenWords(decision, snapshot)}`,
    `Weighed: ${weighedWords(decision)}`,
    ...(candidates && candidates.length > 0 ? [candidatesTable(candidates, width)] : []),
    `Chosen: ${oneLine(row.message)}${forecastWords(row)}`,
    `Guards: ${guardWords(decision)}`,
    `Rolled out: ${rolloutWords(row, rollout)}`,
    `Turned out: ${trialWords(row)}`,
  ].join("\n\n");
}

function seenWords({ observed }: Partial<Decision>, { signal, slo, current }: Partial<Snapshot>): string {
  const parts: string[] = [];
  if (signal) {
    const span =
      signal.windows === 0 ? "no window" : `${signal.windows} windows of ${durationWords(signal.durationMs)}`;
    parts.push(`${span}, ${signal.finished} requests finished, the signal ${signal.freshness}`);
  }
  if (observed && slo) {
    parts.push(phaseWords("TTFT", observed.ttftMs, observed.ttftOkShare, slo.ttft));
    parts.push(phaseWords("TPOT", observed.tpotMs, observed.tpotOkShare, slo.tpot));
  }
  for (const { name, ttftOkShare, tpotOkShare, own } of observed?.classes ?? []) {
    const whose = `${own ? "" : "all requests against "}${name ?? "the SLO's own"}`;
    parts.push(
      `${whose}: ${shareWords(ttftOkShare)} of first tokens and ${shareWords(tpotOkShare)} of answers in time`,
    );
  }
  if (observed && observed.arrivalPerS !== null)
    parts.push(`${trimmed(observed.arrivalPerS, 2)} requests arrived per second`);
  if (current) parts.push(`${allocationWords(current)} in force as generation ${current.generation}`);
  return parts.length > 0 ? `${parts.join("; ")}.` : "what was seen is not in this row.";
}

function phaseWords(name: string, ms: number | null, okShare: number | null, target: LatencyTarget): string {
  const bound = `${latencyWords(target.boundMs)} allowed`;
  if (ms === null) return `${name} not measured (${bound})`;
  const within = okShare === null ? "" : `, ${shareWords(okShare)} of requests within`;
  return `${name} ${percentileWords(target.percentile)} ${latencyWords(ms)} (${bound}${within})`;
}

function weighedWords({ candidates, wanted }: Partial<Decision>): string {
  if (wanted === null || wanted === undefined)
    return "nothing: what was seen or put in the way settled it before the policy was asked.";
  const count = candidates?.length ?? 0;
  const others = count === 0 ? "the policy tells no candidates" : `${count} allocations`;
  return `${others}; the policy wanted ${allocationWords(wanted)}.`;
}

function forecastWords({ predicted }: DecisionResource): string {
  return predicted === null ? "" : ` Predicted: ${pairOfLatencies(predicted)}.`;
}

function guardWords({ guards, wanted }: Partial<Decision>): string {
  if (wanted === null || wanted === undefined) return "were not asked.";
  if (guards === undefined || guards.length === 0) return "cut nothing.";
  const cuts = guards.map(
    ({ guard, from, to }) => `${guard} made ${allocationWords(from)} into ${allocationWords(to)}`,
  );
  return `${cuts.join("; ")}.`;
}

function rolloutWords(row: DecisionResource, rollout: ReconfigurationResource | null): string {
  const unmade = unmadeWords(row);
  if (unmade !== null) return `no. ${unmade}`;
  if (rollout === null)
    return row.kind === "hold" ? "nothing was to be changed." : "it is not stored any more.";
  const startMs = Date.parse(rollout.createdAt);
  const steps = rollout.steps
    .filter(({ attempt }) => attempt === rollout.attempt)
    .map(({ at, step, rank, detail }) => {
      const who = rank !== null && rollout.ranks.length > 1 ? ` (rank ${rank})` : "";
      const why = detail === null ? "" : ` (${oneLine(detail)})`;
      return `${step}${who} after ${latencyWords(Date.parse(at) - startMs)}${why}`;
    });
  const attempts = rollout.attempt > 1 ? `, attempt ${rollout.attempt}` : "";
  const told = `generation ${rollout.from.generation} -> ${rollout.generation}, ${rollout.state}${attempts}`;
  const approved = approvedWords(row);
  return `${told}: ${steps.join(", ")}.${approved === null ? "" : ` ${approved}`}`;
}

function trialWords({ trial, kind }: DecisionResource): string {
  if (trial === null) return kind === "hold" ? "a hold is not tried." : "it was not tried, or not yet.";
  const span =
    trial.to === null ? "" : ` Seen for ${durationWords(Date.parse(trial.to) - Date.parse(trial.from))}.`;
  const hindsight = trial.hindsight === null ? "" : ` ${oneLine(trial.hindsight.message)}`;
  return `${oneLine(trial.message)}${span}${trial.takenBack ? " It was taken back." : ""}${hindsight}`;
}
