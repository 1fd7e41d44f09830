/** The search policy with one of its parts taken away, or changed: each must earn its place. */
import { SEARCH_PARTS, type PolicyConfig, type SearchPart } from "@fulcrum/core/decision.js";
import { DEFAULT_SEARCH } from "@fulcrum/core/defaults.js";
import type { Contender } from "@fulcrum/evaluation/contender.js";
import { searchContender } from "@fulcrum/evaluation/contenders.js";
import { BASE_VARIANT } from "@fulcrum/evaluation/targets.js";

export interface Ablation {
  readonly name: string;
  readonly contender: Contender;
}

const WORDS: Readonly<Record<SearchPart, string>> = {
  doubt: "scoring uncertainty",
  "load-change": "noticing a change of load",
  path: "following a batch that does not settle",
  "wait-bias": "the learnt factor on waits",
  backlog: "the present backlog",
  patience: "counting what staying has cost before a change is made",
  price: "asking for more the longer a load is steady and the more was moved",
  work: "what the workers did (latencies and counts alone)",
};

const CHANGES: readonly { readonly name: string; readonly params: Partial<typeof DEFAULT_SEARCH> }[] = [
  ...SEARCH_PARTS.map((part) => ({ name: `without ${WORDS[part]}`, params: { without: [part] } })),
  { name: "any gain is worth a change", params: { minGainShare: 0 } },
  { name: "a change must gain 5 points", params: { minGainShare: 0.05 } },
  { name: "the KV quota stays", params: { moveKvQuota: false } },
];

/** What they are compared with comes first. */
export const ABLATIONS: readonly Ablation[] = [
  { name: BASE_VARIANT, contender: searchContender({}) },
  ...CHANGES.map(({ name, params }) => {
    const policy: PolicyConfig = { name: "search", params: { ...DEFAULT_SEARCH, ...params } };
    return { name, contender: searchContender({}, policy) };
  }),
  { name: "told no profile", contender: searchContender(null) },
];
