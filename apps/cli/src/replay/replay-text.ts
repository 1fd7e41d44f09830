/** A replay for a person: how far the simulator was off comes first. */
import type { Mode, SloTarget } from "@fulcrum/core/nouns.js";
import type { ReplayFigures, ReplayResult } from "@fulcrum/evaluation/replay/replay.js";
import { tableText } from "../text/table.js";
import { oneLine } from "../text/visible.js";
import {
  durationWords,
  latencyWords,
  percentileWords,
  shareWords,
  sloWords,
  trimmed,
} from "../text/words.js";

export interface ReplayedInstance {
  readonly instance: string;
  /** Its settings were changed within the time asked for: only what came after is played. Null: they were not. */
  readonly cut: { readonly at: string; readonly change: string } | null;
  readonly mode: Mode;
  /** `search`, as the rows call it. */
  readonly ran: string;
  /** Null: nothing else was asked. */
  readonly other: string | null;
  /** What each row is judged by. */
  readonly slo: SloTarget;
  /** Null: no window tells enough of the time to play it again. */
  readonly result: ReplayResult | null;
}

export interface ReplayReport {
  readonly pool: string;
  readonly from: string;
  readonly to: string;
  readonly profile: string;
  /** The last instance's, as all have it but one that was not decided on since the pool was changed. */
  readonly slo: SloTarget;
  readonly ran: string;
  readonly other: string | null;
  readonly instances: readonly ReplayedInstance[];
}

const UNKNOWN = [
  "What this cannot know: which request came when within a window, and how long each answer was (only their mean; they are",
  "drawn exponentially around it); prompts that share a prefix; whether the engine is as the profile says; what the policy",
  "had learnt before (it starts anew, on an empty engine); and what clients would have sent had they been served otherwise.",
  "A difference between two simulated rows that is smaller than the simulator's own distance from what was measured says",
  "little.",
].join("\n");

export function replayText(report: ReplayReport, width: number | null): string {
  const { instances } = report;
  const parts = instances.map((one) => instanceText(report, one, width));
  if (instances.every(({ result }) => result === null)) return parts.join("\n");
  return [`Judged by ${sloWords(report.slo)}; simulated as ${report.profile}.`, ...parts, UNKNOWN].join(
    "\n\n",
  );
}

function instanceText(report: ReplayReport, replayed: ReplayedInstance, width: number | null): string {
  const { instance, result, cut, slo } = replayed;
  const told =
    cut === null
      ? []
      : [
          `${instance}: only from ${cut.at} on. Decisions before that went by other settings (${oneLine(cut.change)}); ` +
            `for that time ask with --to ${justBefore(cut.at)}.`,
        ];
  if (result === null)
    return [...told, `${instance}: no windows of a known allocation with arrivals in this time.`].join("\n");
  if (sloWords(slo) !== sloWords(report.slo)) told.push(`${instance}: judged by ${sloWords(slo)}.`);
  const rows: [string, ReplayFigures][] = [
    ["measured", result.measured],
    ["simulated, allocations as recorded", result.asRecorded],
    [`simulated, ${ranWords(replayed)}`, result.ran],
  ];
  if (result.other && replayed.other) rows.push([`simulated, ${replayed.other}`, result.other]);
  const { ttft, tpot } = slo;
  const table = tableText(
    [
      { title: instance, cut: true },
      { title: "TTFT p50", right: true },
      { title: `TTFT ${percentileWords(ttft.percentile)}`, right: true },
      { title: "TPOT p50", right: true },
      { title: `TPOT ${percentileWords(tpot.percentile)}`, right: true },
      { title: "within", right: true },
      { title: "finished", right: true },
      { title: "moves", right: true },
    ],
    rows.map(([name, figures]) => [
      name,
      latencyWords(figures.ttftP50Ms),
      latencyWords(figures.ttftMs),
      latencyWords(figures.tpotP50Ms),
      latencyWords(figures.tpotMs),
      shareWords(figures.attainmentShare),
      String(figures.finished),
      String(figures.moves),
    ]),
    width,
  );
  const heard = `${result.requests} requests rebuilt, ${durationWords(result.toMs - result.fromMs)} of engine time counted`;
  return [
    ...told,
    `Off by: ${distanceWords(result.measured, result.asRecorded, slo)} (${instance}: ${heard}).`,
    table,
    ...(result.other ? [otherWords(result, result.other, replayed)] : []),
  ].join("\n");
}

/** Both ends of a time asked for belong to it. */
function justBefore(at: string): string {
  return new Date(Date.parse(at) - 1).toISOString();
}

/** Where nothing was moved, the policy's own row is not what ran: "allocations as recorded" is. */
function ranWords({ ran, mode }: ReplayedInstance): string {
  // A canary moves some instances and not the rest.
  if (mode === "canary") return `${ran} moving it (mode canary)`;
  return mode === "enforce" ? `${ran} as it ran` : `${ran} had it moved (mode ${mode})`;
}

/** How far the simulator is from what was measured, at the allocations that were really there. */
export function distanceWords(measured: ReplayFigures, simulated: ReplayFigures, slo: SloTarget): string {
  const off = (name: string, was: number | null, now: number | null) =>
    was === null || now === null || !(was > 0)
      ? `${name} unknown`
      : `${name} ${signed(100 * (now / was - 1), 0)} %`;
  return [
    off("TTFT p50", measured.ttftP50Ms, simulated.ttftP50Ms),
    off(`TTFT ${percentileWords(slo.ttft.percentile)}`, measured.ttftMs, simulated.ttftMs),
    off("TPOT p50", measured.tpotP50Ms, simulated.tpotP50Ms),
    off(`TPOT ${percentileWords(slo.tpot.percentile)}`, measured.tpotMs, simulated.tpotMs),
    `attainment ${pointsBetween(measured, simulated)}`,
  ].join(", ");
}

function otherWords(result: ReplayResult, other: ReplayFigures, replayed: ReplayedInstance): string {
  const { ran, measured, asRecorded } = result;
  return (
    `With ${replayed.other} instead of ${replayed.ran}: attainment ${pointsBetween(ran, other)}, in the simulator, which is off by ` +
    `${pointsBetween(measured, asRecorded)} on what did happen.`
  );
}

function pointsBetween(a: ReplayFigures, b: ReplayFigures): string {
  if (a.attainmentShare === null || b.attainmentShare === null) return "unknown";
  return `${signed(100 * (b.attainmentShare - a.attainmentShare), 1)} points`;
}

function signed(value: number, digits: number): string {
  const text = trimmed(value, digits);
  return value > 0 && text !== "0" ? `+${text}` : text.replace(/^-0$/, "0");
}
