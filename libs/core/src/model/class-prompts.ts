/** How long the prompts of each class of requests are, where the engine tells classes. */
import type { Signal } from "../decision.js";
import { MAX_WINDOW_CLASSES } from "../nouns.js";
import { promptClasses } from "./prompts.js";
import type { PromptClass } from "./prompts.js";

/** Decayed sums. */
export interface PromptAccount {
  readonly arrivals: number;
  readonly promptTokens: number;
  readonly promptTokensSq: number;
}

/** By class, where the engine tells classes; absent until it has. */
export type ClassAccounts = Readonly<Record<string, PromptAccount>>;

/** What is remembered of prompts: by class, of all of them, and the longest. */
interface PromptMemory {
  readonly classes?: ClassAccounts;
  readonly slow: PromptAccount;
  readonly maxPromptTokens: number;
}

/** A class of which fewer are left after decay is forgotten: ten minutes after three arrivals. */
const LEAST_ARRIVALS = 0.5;

/** The accounts after a signal; nothing where no class was ever told. */
export function notePrompts(
  before: ClassAccounts | undefined,
  latest: Signal,
  tauMs: number,
): { readonly classes?: ClassAccounts } {
  if (latest.classes === undefined && before === undefined) return {};
  const keep = Math.exp(-latest.durationMs / tauMs);
  const found: Record<string, PromptAccount> = {};
  for (const [name, account] of Object.entries(before ?? {})) {
    found[name] = {
      arrivals: account.arrivals * keep,
      promptTokens: account.promptTokens * keep,
      promptTokensSq: account.promptTokensSq * keep,
    };
  }
  for (const { name, arrivals, promptTokens, promptTokensSq } of latest.classes ?? []) {
    const old = found[name] ?? { arrivals: 0, promptTokens: 0, promptTokensSq: 0 };
    found[name] = {
      arrivals: old.arrivals + arrivals,
      promptTokens: old.promptTokens + promptTokens,
      promptTokensSq: old.promptTokensSq + promptTokensSq,
    };
  }
  const left = Object.entries(found).filter(([, { arrivals }]) => arrivals >= LEAST_ARRIVALS);
  left.sort(([, a], [, b]) => b.arrivals - a.arrivals);
  return { classes: Object.fromEntries(left.slice(0, MAX_WINDOW_CLASSES)) };
}

/**
 * Prompts of one class, or (name null) of the requests in none of `besides`. Null where classes are not told; none: no such
 * request comes.
 */
export function promptsOf(
  { classes, slow, maxPromptTokens }: PromptMemory,
  name: string | null,
  besides: readonly string[],
): readonly PromptClass[] | null {
  if (classes === undefined) return null;
  const account = name === null ? restOf(slow, classes, besides) : classes[name];
  if (account === undefined || account.arrivals < LEAST_ARRIVALS) return [];
  const mean = Math.max(1, account.promptTokens / account.arrivals);
  const meanSq = Math.max(mean ** 2, account.promptTokensSq / account.arrivals);
  // The longest of all is no class's own: two deviations and a half above its mean stand for it.
  const longest = Math.min(maxPromptTokens, mean + 2.5 * Math.sqrt(meanSq - mean ** 2));
  return promptClasses(mean, meanSq, longest);
}

function restOf(all: PromptAccount, classes: ClassAccounts, besides: readonly string[]): PromptAccount {
  const less = (pick: (account: PromptAccount) => number) =>
    besides.reduce((rest, name) => {
      const account = classes[name];
      return Math.max(0, rest - (account === undefined ? 0 : pick(account)));
    }, pick(all));
  return {
    arrivals: less((account) => account.arrivals),
    promptTokens: less((account) => account.promptTokens),
    promptTokensSq: less((account) => account.promptTokensSq),
  };
}
