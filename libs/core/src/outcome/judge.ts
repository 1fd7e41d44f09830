/**
 * How a decision turned out: what came, against what was before and what was predicted. Pure.
 *
 * Two shares differ when they lie further apart than the margin and further than chance explains (Z standard errors of
 * their difference); they are the same when they lie within the margin and that difference is known to one margin. A fall is held against a change only when no more work came than before it; what had piled up
 * when the change was made counts as work that came after it.
 */
import { tidy } from "../allocation.js";
import type { Signal } from "../decision.js";
import type { SloTarget } from "../nouns.js";
import { attainmentOf, figuresOf, predictedAttainment } from "./attainment.js";
import type { Attainment, Figures, PredictedLatencies } from "./attainment.js";

export type Verdict = "as_predicted" | "better" | "worse" | "cannot_tell";

/** What is judged: a change that was made, or, where nothing may be changed, what was predicted of leaving it. */
export type Subject = "move" | "stay";

export interface OutcomeRules {
  /** Shares of requests that lie no further apart than this are the same. */
  readonly marginShare: number;
  /** Load is another load when arrivals or prompt tokens per second changed by more than this factor. */
  readonly loadFactor: number;
  readonly minSamples: number;
  readonly minWindows: number;
  /** A trial that has not told by then never does. */
  readonly longestMs: number;
}

export const OUTCOME_RULES: Omit<OutcomeRules, "minSamples"> = {
  marginShare: 0.1,
  // Poisson arrivals of 10 a second over ten seconds differ by so much in one of 20 looks.
  loadFactor: 1.25,
  // The first one ends within what was going on when the change was made.
  minWindows: 2,
  longestMs: 300_000,
};

/** One-sided 99 %: a trial is looked at up to seven times before it ends. */
const Z = 2.33;

export interface Trial {
  readonly subject: Subject;
  readonly slo: SloTarget;
  /** What the decision saw. */
  readonly before: Signal;
  /** How much more shares of requests scatter than chance (clumpingOf), as seen before the change. */
  readonly clumping: number;
  /** At the SLO's percentiles; null where the policy predicted nothing. */
  readonly predicted: PredictedLatencies | null;
  /** Of a move: what was predicted of leaving it. The policy moved for the difference of the two. */
  readonly predictedStay: PredictedLatencies | null;
  /** Everything since, at the generation on trial. */
  readonly after: Signal;
  /** Why no more will come; null while the trial goes on. */
  readonly over: string | null;
}

export interface PredictedFigures extends PredictedLatencies {
  readonly attainmentShare: number | null;
}

/** Of what is on trial; `stayingShare` of leaving it, by the same reckoning, where a move is and it was predicted. */
export interface PredictedOutcome extends PredictedFigures {
  readonly stayingShare: number | null;
}

export interface Judgement {
  readonly verdict: Verdict;
  /** What it is worse than. Only what is worse than before is better taken back. */
  readonly worseThan: "before" | "predicted" | null;
  readonly before: Figures | null;
  readonly predicted: PredictedOutcome | null;
  readonly observed: Figures | null;
  readonly requests: number;
  /** One plain sentence with the numbers. */
  readonly message: string;
}

/** Null while the trial has to go on. */
export function judge(trial: Trial, rules: OutcomeRules): Judgement | null {
  const { before, after, slo, predicted, predictedStay, over, clumping } = trial;
  const foretold = (latencies: PredictedLatencies | null) =>
    latencies && predictedAttainment(before, latencies, slo, clumping);
  const shares: Shares = {
    before: attainmentOf(before, slo, clumping),
    predicted: foretold(predicted),
    observed: attainmentOf(after, slo, clumping),
  };
  const finding = find(trial, shares, rules);
  if (finding.verdict === "cannot_tell" && over === null) return null;
  return {
    verdict: finding.verdict,
    worseThan: finding.worseThan ?? null,
    before: figuresOf(before, slo),
    predicted: predicted && {
      ...predicted,
      attainmentShare: shares.predicted?.share ?? null,
      stayingShare: foretold(predictedStay)?.share ?? null,
    },
    observed: figuresOf(after, slo),
    requests: after.finished,
    message: sentence(trial, shares, finding),
  };
}

interface Shares {
  readonly before: Attainment | null;
  readonly predicted: Attainment | null;
  readonly observed: Attainment | null;
}

interface Finding {
  readonly verdict: Verdict;
  readonly worseThan?: "before" | "predicted";
  readonly because?: string;
}

function find(trial: Trial, shares: Shares, rules: OutcomeRules): Finding {
  const few = tooFew(trial.after, rules);
  const { before, predicted, observed } = shares;
  if (few !== null || observed === null) return cannotTell(few ?? "no latency was measured");
  const load = loadChange(trial, rules);
  if (trial.subject === "move") {
    const against = before && compare(observed, before, rules);
    if (against === "lower" && load === "more")
      return cannotTell(`${loadWords(trial)}, so the change is not to blame`);
    if (against === "lower") return { verdict: "worse", worseThan: "before" };
    if (before && against === "unclear" && observed.share < before.share)
      return cannotTell("the fall may be chance");
    if (predicted === null) return unpredicted(trial, against, load);
  }
  if (predicted === null) return cannotTell("no share was predicted");
  return againstPrediction(trial, compare(observed, predicted, rules), load);
}

function unpredicted(trial: Trial, against: Comparison | null, load: LoadChange): Finding {
  if (against !== "higher") return cannotTell("nothing was predicted, and no difference is certain");
  return load === "less" ? cannotTell(loadWords(trial)) : { verdict: "better" };
}

function againstPrediction(trial: Trial, against: Comparison, load: LoadChange): Finding {
  if (against === "same") return { verdict: "as_predicted" };
  if (against === "unclear") return cannotTell("the difference to the prediction may be chance");
  if (against === "lower" && load !== "more") return { verdict: "worse", worseThan: "predicted" };
  if (against === "higher" && load !== "less") return { verdict: "better" };
  return cannotTell(`${loadWords(trial)}, for which nothing was predicted`);
}

function cannotTell(because: string): Finding {
  return { verdict: "cannot_tell", because };
}

function tooFew({ finished, windows }: Signal, { minSamples, minWindows }: OutcomeRules): string | null {
  if (finished >= minSamples && windows >= minWindows) return null;
  return `${finished} finished requests in ${windows} windows are fewer than the ${minSamples} in ${minWindows} that are needed`;
}

type Comparison = "lower" | "higher" | "same" | "unclear";
type LoadChange = "more" | "less" | "same";

function compare(a: Attainment, b: Attainment, { marginShare }: OutcomeRules): Comparison {
  const difference = a.share - b.share;
  const standardError = Math.hypot(a.standardError, b.standardError);
  if (Math.abs(difference) <= marginShare) return standardError <= marginShare ? "same" : "unclear";
  if (Math.abs(difference) <= Z * standardError) return "unclear";
  return difference < 0 ? "lower" : "higher";
}

interface LoadRatios {
  readonly arrivals: number;
  readonly promptTokens: number;
}

function loadRatios({ before, after, subject }: Trial): LoadRatios {
  const rate = (amount: number, durationMs: number) => (durationMs > 0 ? amount / durationMs : 0);
  // It came before and was served after.
  const waiting = subject === "move" ? (before.queue.prefillWaiting ?? 0) : 0;
  const meanPrompt = before.arrivals > 0 ? before.promptTokens / before.arrivals : 0;
  const ratio = (then: number, now: number) => (then > 0 ? now / then : now > 0 ? Infinity : 1);
  return {
    arrivals: ratio(
      rate(before.arrivals, before.durationMs),
      rate(after.arrivals + waiting, after.durationMs),
    ),
    promptTokens: ratio(
      rate(before.promptTokens, before.durationMs),
      rate(after.promptTokens + waiting * meanPrompt, after.durationMs),
    ),
  };
}

function loadChange(trial: Trial, { loadFactor }: OutcomeRules): LoadChange {
  const { arrivals, promptTokens } = loadRatios(trial);
  if (Math.max(arrivals, promptTokens) > loadFactor) return "more";
  return Math.min(arrivals, promptTokens) < 1 / loadFactor ? "less" : "same";
}

function loadWords(trial: Trial): string {
  const { arrivals, promptTokens } = loadRatios(trial);
  const times = (ratio: number) => (ratio === Infinity ? "any" : `${tidy(ratio)} times`);
  return `${times(arrivals)} the requests and ${times(promptTokens)} the prompt tokens per second came`;
}

const VERDICT_WORDS: Readonly<Record<Verdict, string>> = {
  as_predicted: "As predicted",
  better: "Better than predicted",
  worse: "Worse",
  cannot_tell: "Cannot tell",
};

function sentence(trial: Trial, shares: Shares, finding: Finding): string {
  const { verdict, worseThan, because } = finding;
  const asked =
    verdict === "better" && shares.predicted === null ? "Better than before" : VERDICT_WORDS[verdict];
  const head = worseThan === undefined ? asked : `${asked} than ${worseThan}`;
  const numbers: string[] = [];
  if (shares.before) numbers.push(`${percent(shares.before.share)} before`);
  if (shares.predicted) numbers.push(`${percent(shares.predicted.share)} predicted`);
  const seen = shares.observed
    ? `${percent(shares.observed.share)} of ${trial.after.finished} requests were within both bounds`
    : "no request was measured";
  const stayed = trial.subject === "stay" ? " where nothing was changed" : "";
  const rest = [because, verdict === "cannot_tell" ? trial.over : null].filter(Boolean).join("; ");
  const compared = numbers.length > 0 ? `, ${numbers.join(", ")}` : "";
  return `${head}: ${seen}${stayed}${compared}${rest === "" ? "" : ` (${rest})`}.`;
}

function percent(share: number): string {
  return `${tidy(Math.round(share * 1000) / 10)} %`;
}
