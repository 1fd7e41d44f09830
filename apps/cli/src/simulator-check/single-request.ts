import { sampleOf, type LengthSet } from "@fulcrum/evaluation/lengths.js";
import { createInstance } from "@fulcrum/simulator/instance.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import type { Comparison, Standing } from "./comparison.js";
import { llama70bTp4, SINGLE_REQUEST_SOURCE, SINGLE_REQUESTS, SLOS } from "./references.js";
import type { CheckInputs, Section } from "./section.js";
import { means, serveOn, type Latencies } from "./serve.js";

const REQUESTS = 400;
/** Far apart: an answer of 512 tokens at 50 ms takes 26 s. */
const APART_MS = 120_000;

/** Requests that each have an idle engine to themselves, against what Table 2's SLOs imply. */
export function checkSingleRequests(inputs: CheckInputs): Section {
  const profiles = { "8B": inputs.profile, "70B": llama70bTp4(inputs.profile) };
  const comparisons = SINGLE_REQUESTS.flatMap((reference): Comparison[] => {
    const alone = meansAlone(profiles[reference.model], inputs[reference.lengths]);
    const name = `${reference.model} ${reference.lengths === "sharegpt" ? "ShareGPT" : "LongBench"}`;
    const both = { unit: "ms", source: SINGLE_REQUEST_SOURCE } as const;
    return [
      {
        ...both,
        what: `${name} TTFT`,
        reference: reference.ttftMs,
        simulated: alone.ttftMs,
        standing: standingOf(inputs.profile, reference, "ttft"),
      },
      {
        ...both,
        what: `${name} TPOT`,
        reference: reference.tpotMs,
        simulated: alone.tpotMs,
        standing: standingOf(inputs.profile, reference, "tpot"),
      },
    ];
  });
  return {
    title: "Single requests",
    how: [
      `Mean over ${REQUESTS} requests, each alone on an idle engine at (100,100). The paper does not give these latencies: they are what its SLOs imply, "about 7.5 times" a single request's.`,
      "8B is the profile under check. 70B is four A100 as one instance (fits to published composed step times, engine constants 15 and 10 ms, the 8B profile's contention). LongBench prompts are cut at 3,200 tokens; the paper does not say where it cuts.",
      'Fitted: the profile\'s engine constants, where its sources name Table 2, come from "8B ShareGPT"; the 10 ms of 70B come from its TPOT.',
    ],
    comparisons,
    tables: [],
    findings: promptLengthFinding(comparisons),
  };
}

function meansAlone(profile: Profile, set: LengthSet): Latencies {
  const requests = sampleOf(set.source)
    .slice(0, REQUESTS)
    .map((row, id) => ({ id, arrivalMs: id * APART_MS, ...row }));
  const initial = { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 100, generation: 1 };
  return means(serveOn(createInstance({ profile, initial }), requests, SLOS.sharegptLoose));
}

function standingOf(
  profile: Profile,
  reference: (typeof SINGLE_REQUESTS)[number],
  what: "ttft" | "tpot",
): Standing {
  if (reference.model === "70B") return what === "tpot" ? "fitted" : "predicted";
  return reference.lengths === "sharegpt" && /Table 2/.test(profile.sources) ? "fitted" : "predicted";
}

/** A LongBench TTFT that is short in both models alike points at the prompts, not at the step times. */
function promptLengthFinding(comparisons: readonly Comparison[]): string[] {
  const found = comparisons.filter(({ what }) => /LongBench TTFT/.test(what));
  const ratios = found.map(({ simulated, reference }) => (simulated ?? Number.NaN) / reference);
  const [least, most] = [Math.min(...ratios), Math.max(...ratios)];
  if (!(most < 0.95) || most - least > 0.15) return [];
  return [
    `LongBench TTFT is short by a like factor in both models (${least.toFixed(2)} and ${most.toFixed(2)} of the reference), which longer prompts than the 3,200 tokens assumed here would explain as well as slower kernels would.`,
  ];
}
