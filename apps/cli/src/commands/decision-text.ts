import type { DecisionResource } from "@fulcrum/contracts/resources.js";
import type { Decision } from "@fulcrum/core/decision.js";
import { pairsText, tableText } from "../text/table.js";
import { agoOf, allocationWords, latencyWords, shareWords, trimmed } from "../text/words.js";

/** One decision for a person: what was seen, what was weighed, what was decided and why. */
export function decisionText(row: DecisionResource, nowMs: number, width: number | null): string {
  // Any part may be missing in a row that another version wrote.
  const stored = row.decision as Partial<Decision>;
  const parts = [factsText(row, stored, nowMs)];
  if (stored.candidates !== undefined && stored.candidates.length > 0) {
    parts.push(candidatesTable(stored.candidates, width));
  }
  for (const { guard, from, to } of stored.guards ?? []) {
    parts.push(`guard ${guard}: ${allocationWords(from)} became ${allocationWords(to)}`);
  }
  return parts.join("\n\n");
}

function factsText(row: DecisionResource, { observed }: Partial<Decision>, nowMs: number): string {
  const arrivals = observed?.arrivalPerS ?? null;
  return pairsText([
    ["decision", row.id],
    ["when", `${row.at} (${agoOf(row.at, nowMs)})`],
    ["instance", `${row.instance} of pool ${row.pool} (${row.mode})`],
    ["decided", `${row.kind} ${row.reason}`],
    ["why", row.message],
    ["outcome", row.outcome],
    ["allocation", allocationWords(row.allocation)],
    ["generation", `${row.basedOnGeneration} -> ${row.generation ?? "unchanged"}`],
    ["seen", pairOfLatencies(observed ?? null)],
    [
      "load",
      `${arrivals === null ? "-" : trimmed(arrivals, 2)} req/s, lambda ${shareWords(observed?.lambdaShare ?? null)}`,
    ],
    ["predicted", pairOfLatencies(row.predicted)],
    ["policy", `${row.policy.name}, version ${row.policy.version}`],
    ["reconfiguration", row.reconfiguration ?? "-"],
    ["turned out", row.trial === null ? "-" : row.trial.message],
  ]);
}

export function pairOfLatencies(
  pair: { readonly ttftMs: number | null; readonly tpotMs: number | null } | null,
): string {
  return pair === null ? "-" : `TTFT ${latencyWords(pair.ttftMs)}, TPOT ${latencyWords(pair.tpotMs)}`;
}

export function candidatesTable(candidates: Decision["candidates"], width: number | null): string {
  const told = candidates.some(({ share }) => share !== undefined);
  return tableText(
    [
      { title: "candidate" },
      { title: "TTFT", right: true },
      { title: "TPOT", right: true },
      ...(told ? [{ title: "within", right: true }] : []),
      { title: "verdict" },
    ],
    candidates.map((each) => [
      allocationWords(each.allocation),
      latencyWords(each.ttftMs),
      latencyWords(each.tpotMs),
      ...(told ? [withinWords(each)] : []),
      each.verdict,
    ]),
    width,
  );
}

/** "91 %", and where the SLO has classes "91 %, batch 40 %". */
function withinWords({ share, classes }: Decision["candidates"][number]): string {
  if (classes === undefined) return shareWords(share ?? null);
  return classes
    .map((each) => `${each.name === null ? "" : `${each.name} `}${shareWords(each.share)}`)
    .join(", ");
}
