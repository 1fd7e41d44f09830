/** The search policy with one of its parts taken away, or changed: each must earn its place. */
import { SEARCH_PARTS, type PolicyConfig, type SearchParams } from "@fulcrum/core/decision.js";
import { DEFAULT_SEARCH } from "@fulcrum/core/defaults.js";
import type { Contender } from "@fulcrum/evaluation/contender.js";
import { searchContender } from "@fulcrum/evaluation/contenders.js";
import { BASE_VARIANT } from "@fulcrum/evaluation/targets.js";

export interface Ablation {
  readonly name: string;
  readonly contender: Contender;
}

const CHANGES: readonly { readonly name: string; readonly params: Partial<SearchParams> }[] = [
  ...SEARCH_PARTS.map((part) => ({ name: `without ${part}`, params: { without: [part] } })),
  {
    name: "a change must gain five times as much",
    params: { minGainShare: 5 * DEFAULT_SEARCH.minGainShare },
  },
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
