import type { PolicyConfig } from "@fulcrum/core/decision.js";
import { DEFAULT_FEEDBACK, DEFAULT_GUARDS, DEFAULT_SEARCH, DEFAULT_SEMI_PD } from "@fulcrum/core/defaults.js";
import { OPEN_SPLIT } from "./best-fixed.js";
import type { Contender } from "./contender.js";
import type { PlantChange } from "./plant.js";

/** The search policy, told the profile (changed so) or nothing. */
export function searchContender(
  priorFrom: PlantChange | null,
  policy: PolicyConfig = { name: "search", params: DEFAULT_SEARCH },
): Contender {
  return { kind: "policy", policy, guards: DEFAULT_GUARDS, priorFrom };
}

/** Names as reports and `--policy` use them. All start from (100,100) but 50/50, which stays what it is. */
export const CONTENDERS = {
  "100/100": { kind: "fixed", split: OPEN_SPLIT },
  "50/50": { kind: "fixed", split: { prefillSmPct: 50, decodeSmPct: 50 } },
  static: policy({ name: "static", params: { allocation: { split: OPEN_SPLIT, kvQuotaPct: 100 } } }),
  feedback: policy({ name: "feedback", params: DEFAULT_FEEDBACK }),
  "semi-pd": policy({ name: "semi-pd", params: DEFAULT_SEMI_PD }),
  search: searchContender({}),
  "search-blind": searchContender(null),
  "prefill-first": { kind: "engine", engine: "prefill-first" },
  chunked: { kind: "engine", engine: "chunked" },
  disaggregated: { kind: "engine", engine: "disaggregated" },
} as const satisfies Readonly<Record<string, Contender>>;

export type ContenderName = keyof typeof CONTENDERS;

export const CONTENDER_NAMES = Object.keys(CONTENDERS) as readonly ContenderName[];

/** Whether a name is of an engine that has no split to choose. */
export function isEngine(name: string): boolean {
  return CONTENDER_NAMES.some((known) => known === name && CONTENDERS[known].kind === "engine");
}

/** What a name stands for, in a report. */
export const CONTENDER_TITLES: Readonly<Record<ContenderName, string>> = {
  "100/100": "(100,100): both caps open, nothing controlled",
  "50/50": "50/50: half the SMs each",
  static: "static: (100,100) as a policy; the harness itself costs nothing if it equals the line above",
  feedback: "feedback: the paper's Algorithm 1, mended",
  "semi-pd": "semi-pd: what the authors' code does",
  search: "search: told the GPU's profile",
  "search-blind": "search, told no profile",
  "prefill-first": "one loop, prefill first (vLLM's default)",
  chunked: "one loop, chunked prefill (SplitFuse)",
  disaggregated: "a GPU for each phase (DistServe), rates per GPU",
};

function policy(config: PolicyConfig): Contender {
  return { kind: "policy", policy: config, guards: DEFAULT_GUARDS, priorFrom: null };
}
