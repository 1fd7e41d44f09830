import { loadWorld } from "../evaluate/inputs.js";
import { verdictOf } from "./comparison.js";
import { loadProfile } from "./input-files.js";
import { checkLoadAnchors } from "./load-anchors.js";
import { checkQueueing } from "./queueing.js";
import { loadQueueingPoints } from "./queueing-points.js";
import type { CheckInputs, Effort, Section } from "./section.js";
import { sensitivityFindings, sensitivityTable, studySensitivity } from "./sensitivity.js";
import { checkShareCurves } from "./share-curves.js";
import { checkSingleRequests } from "./single-request.js";
import { STUDY_SPLITS } from "./split-study.js";
import { measureSpeed, type Speed } from "./speed.js";

export interface CheckReport {
  readonly profile: { readonly name: string; readonly sources: string };
  /** Where the lengths come from. */
  readonly data: readonly string[];
  readonly sections: readonly (Section & { readonly verdict: string })[];
  readonly speed: Speed;
}

/** Reads what the check works on. Throws SimulatorInputError or CliFailure naming the file. */
export function loadCheckInputs(profile: string, dataDir: string | null): CheckInputs {
  const world = loadWorld({ profile: null, dataDir });
  const { chat, documents } = world.lengths;
  if (chat === undefined || documents === undefined) throw new RangeError("the bundled lengths are missing");
  return {
    profile: loadProfile(profile),
    sharegpt: chat,
    longbench: documents,
    queueing: loadQueueingPoints(dataDir),
  };
}

export interface CheckOptions {
  readonly effort: Effort;
  /** Milliseconds of a clock that does not jump. */
  readonly nowMs: () => number;
  /** Hears of each part when it is done. */
  readonly note: (text: string) => void;
}

/** Holds the simulator against every reference there is. Only the speed depends on the machine. */
export function runCheck(inputs: CheckInputs, options: CheckOptions): CheckReport {
  const { effort, nowMs, note } = options;
  const checks = [
    checkSingleRequests,
    checkShareCurves,
    checkLoadAnchors,
    checkQueueing,
    ...(effort.studyRequests > 0 ? [checkSensitivity] : []),
  ];
  const sections = checks.map((check) => {
    const startMs = nowMs();
    const section = check(inputs, effort);
    note(`${section.title}: ${((nowMs() - startMs) / 1000).toFixed(1)} s`);
    return { ...section, verdict: verdictOf(section.comparisons) };
  });
  const speed = measureSpeed(inputs.profile, inputs.sharegpt.source, nowMs);
  return {
    profile: { name: inputs.profile.name, sources: inputs.profile.sources },
    data: [inputs.sharegpt.about, inputs.longbench.about],
    sections,
    speed,
  };
}

function checkSensitivity(inputs: CheckInputs, effort: Effort): Section {
  const studies = studySensitivity(inputs, effort);
  const { prefill, decode, contention } = inputs.profile;
  return {
    title: "What the conclusions depend on",
    how: [
      `One assumption of the profile is changed at a time; nothing public measures contention or how caps that overlap are shared. (100,100) and ${STUDY_SPLITS.length - 1} other fixed splits are tried on the same ${effort.studyRequests} ShareGPT (${Math.round(effort.studyRequests / 3)} LongBench) requests, time-stretched; sustainable is the highest rate with 90 % within both bounds.`,
      `As the profile has it: decode takes ${contention.decodeByPrefill} longer beside prefill and prefill ${contention.prefillByDecode} longer beside decode, overlap rule ${contention.overlapRule ?? "constant"} with ${contention.overlapToPrefill} to prefill, engine constants ${prefill.engineMs} and ${decode.engineMs} ms. A change to what it has already is left out.`,
      "Attainment is compared at rates of 0.9 and 1.05 times what (100,100) sustains under that assumption.",
    ],
    comparisons: [],
    tables: studies.map(sensitivityTable),
    findings: studies.flatMap(sensitivityFindings),
  };
}
