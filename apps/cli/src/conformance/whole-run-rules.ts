/** What can be said only of all that the workers have said. */
import type { Candidate } from "./candidate.js";
import { PROGRESS_MS, type Rule, wrongShare } from "./checks.js";
import { RuleBroken } from "./conversation.js";
import type { Stage } from "./stage.js";

export const wholeRunRules: readonly Rule[] = [
  {
    name: "says only lines of the protocol",
    check: ofEach(({ said }) => said.wrong),
  },
  {
    name: "answers each request once, on the connection that it came on",
    check: ofEach(({ said }) => said.oddAnswers[0] ?? null),
  },
  {
    name: "iteration and tokens of progress only grow",
    check: ofEach(({ said }) => {
      const progress = said.all("progress");
      return fall("iteration", progress) ?? fall("tokens", progress);
    }),
  },
  {
    name: "is not silent while it iterates, also with nothing to run",
    check: ofEach(({ said: { longestSilenceMs } }) =>
      longestSilenceMs <= PROGRESS_MS
        ? null
        : `no progress for ${Math.round(longestSilenceMs)} ms; it must come about once a second`,
    ),
  },
  {
    name: "says ready once, and the same smCount from then on: in ready, status and every hello",
    check: ofEach(({ said }) => {
      const count = said.all("ready").length;
      if (count > 1) return `it said ready ${count} times`;
      const from = said.smCounts.findIndex(({ where }) => where === "event ready");
      const ready = said.smCounts[from]?.smCount;
      const other =
        from === -1 ? undefined : said.smCounts.slice(from).find(({ smCount }) => smCount !== ready);
      return other === undefined
        ? null
        : `${other.where} says smCount ${other.smCount}, event ready said ${ready}`;
    }),
  },
  {
    name: "sees the SMs of its share, whatever that is",
    check: ofEach((candidate, stage) => wrongShare(stage, candidate)),
  },
];

/** @param wrongWith what is wrong with one; null if nothing is. */
function ofEach(
  wrongWith: (candidate: Candidate, stage: Stage) => string | null,
): (stage: Stage) => Promise<void> {
  return async (stage) => {
    for (const candidate of stage.all) {
      const wrong = wrongWith(candidate, stage);
      if (wrong !== null) throw new RuleBroken(`${candidate.spec.id}: ${wrong}`);
    }
  };
}

function fall<F extends string>(field: F, said: readonly Readonly<Record<F, number>>[]): string | null {
  const values = said.map((event) => event[field]);
  const at = values.findIndex((value, index) => value < (values[index - 1] ?? 0));
  return at === -1 ? null : `${field} fell from ${values[at - 1]} to ${values[at]}`;
}
