/** KV memory: a prefill quota inside one instance, and lending between instances on one device. */
import { LENDING_CASES, runLendingCase, type LendingFigures } from "@fulcrum/evaluation/lending-study.js";
import {
  POOL_TOKENS,
  QUOTAS,
  QUOTA_LOADS,
  runQuotaCell,
  type QuotaContender,
  type QuotaFigures,
} from "@fulcrum/evaluation/quota-study.js";
import { mean } from "@fulcrum/evaluation/statistics.js";
import type { World } from "@fulcrum/evaluation/world.js";
import { mdTable, middleMs, percent, percentSpread } from "./markdown.js";

/** A difference of less than this is none. */
const NOTHING = 0.005;
/** A gain worth having. */
const CLEAR = 0.01;

/** Most of lending's settings were chosen on seeds 1 to 3. */
const SEEDS = [11, 12, 13, 14, 15];
const QUICK_SEEDS = [11];
const QUICK_QUOTAS = [100, 10] as const;
const QUICK_CASES = new Set(["turns, 80k", "both busy"]);

export interface KvSectionOptions {
  /** One seed, the smallest pool and few cases: a few seconds. */
  readonly quick: boolean;
}

/** Runs both studies, on one core, and writes them up as Markdown lines without a heading of their own. */
export function kvSection(world: World, options: KvSectionOptions): readonly string[] {
  return [...quotaLines(world, options), "", ...lendingLines(world, options)];
}

interface QuotaCell extends QuotaFigures {
  readonly load: string;
  readonly poolTokens: number;
  readonly contender: QuotaContender;
}

function quotaLines(world: World, { quick }: KvSectionOptions): readonly string[] {
  const seeds = quick ? QUICK_SEEDS : SEEDS;
  const pools = quick ? POOL_TOKENS.slice(-1) : POOL_TOKENS;
  const fixed = quick ? QUICK_QUOTAS : QUOTAS;
  const contenders: readonly QuotaContender[] = [...fixed, "search", "search-quota"];
  const cells = QUOTA_LOADS.filter(({ scenario }) => world.has(scenario)).flatMap((load) =>
    pools.flatMap((poolTokens) =>
      contenders.map((contender): QuotaCell => {
        const figures = runQuotaCell(world, load, poolTokens, contender, seeds);
        return { load: load.name, poolTokens, contender, ...figures };
      }),
    ),
  );
  const rows = cells.map((cell) => [
    `${cell.load}, ${cell.poolTokens.toLocaleString("en")} tokens`,
    TITLES[cell.contender],
    percent(cell.attained),
    middleMs([cell.p99TtftMs]),
    middleMs([cell.p99TpotMs]),
    String(cell.preemptions),
  ]);
  const head = ["load and pool", "quota", "attained %", "p99 TTFT ms", "p99 TPOT ms", "preemptions"];
  return [
    "### A prefill quota inside one instance",
    "",
    `Quotas held throughout with both caps open, and the search policy without and with its own. Requests of ${seeds.length} seeds together; loads: ${loadWords(world)}. Percentiles are of requests that got so far.`,
    "",
    quotaWords(cells),
    "",
    mdTable(head, rows),
  ];
}

const TITLES: Readonly<Record<QuotaContender, string>> = {
  100: "100 %",
  75: "75 %",
  50: "50 %",
  25: "25 %",
  10: "10 %",
  search: "search, no quota",
  "search-quota": "search, its own",
};

function loadWords(world: World): string {
  return QUOTA_LOADS.filter(({ scenario }) => world.has(scenario))
    .map(({ name, scenario, fraction }) => `${name} (${scenario.title}, ${fraction} of r_max)`)
    .join("; ");
}

/** What the numbers say of quotas; each sentence only where they bear it out. */
function quotaWords(cells: readonly QuotaCell[]): string {
  const opens = cells.filter(({ contender }) => contender === 100);
  const fixed = cells.filter(({ contender }) => typeof contender === "number" && contender < 100);
  const openOf = (cell: QuotaCell) =>
    opens.find(({ load, poolTokens }) => load === cell.load && poolTokens === cell.poolTokens);
  const over = (cell: QuotaCell) => cell.attained - (openOf(cell)?.attained ?? cell.attained);
  const place = (cell: QuotaCell) =>
    `${TITLES[cell.contender]} on ${cell.load} with ${cell.poolTokens} tokens`;
  const told = (list: readonly QuotaCell[]) =>
    list.map((cell) => `${place(cell)} (${signedPoints(over(cell))})`).join(", ");
  const paying = fixed.filter((cell) => over(cell) > CLEAR);
  const costing = fixed.filter((cell) => over(cell) < -NOTHING);
  const idle = fixed.filter((cell) => {
    const open = openOf(cell);
    return (
      open?.attained === cell.attained &&
      open.preemptions === cell.preemptions &&
      open.p99TtftMs === cell.p99TtftMs
    );
  }).length;
  const full = opens.filter((open) => !paying.some((cell) => openOf(cell) === open)).length;
  const own = cells.filter(({ contender }) => contender === "search-quota");
  const below = own.filter((cell) => {
    const without = cells.find(
      (other) =>
        other.contender === "search" && other.load === cell.load && other.poolTokens === cell.poolTokens,
    );
    return without !== undefined && cell.attained < without.attained - NOTHING;
  });
  const moves = own.reduce((sum, cell) => sum + cell.quotaMoves, 0);
  return [
    `The right quota is 100 % in ${full} of ${opens.length} combinations of load and pool: no smaller one gains a point.`,
    idle > 0
      ? `In ${idle} of ${fixed.length} cells a smaller one changed nothing at all: prefill holds little more than one batch of prompts before decode takes them over, which is less than the quota allows.`
      : "",
    paying.length > 0 ? `A smaller one gains more than a point: ${told(paying)}.` : "",
    costing.length > 0 ? `It costs more than half a point: ${told(costing)}.` : "",
    moves === 0
      ? "The search policy left the quota at 100 % throughout."
      : `The search policy ran a quota below 100 % after ${moves} of its switches.`,
    below.length === 0
      ? "Letting it move the quota never cost it more than half a point."
      : `Letting it move the quota cost it more than half a point on ${below.map(({ load, poolTokens }) => `${load} with ${poolTokens} tokens`).join(", ")}.`,
  ]
    .filter((text) => text !== "")
    .join(" ");
}

interface LendingPair {
  readonly seed: number;
  readonly equal: LendingFigures;
  readonly lent: LendingFigures;
}

function lendingLines(world: World, { quick }: KvSectionOptions): readonly string[] {
  const seeds = quick ? QUICK_SEEDS : SEEDS;
  const cases = LENDING_CASES.filter(({ name }) => !quick || QUICK_CASES.has(name));
  const runs = cases.map((each) => ({
    each,
    pairs: seeds.map((seed): LendingPair => ({
      seed,
      equal: runLendingCase(world, each, "equal", seed),
      lent: runLendingCase(world, each, "lending", seed),
    })),
  }));
  const rows = runs.map(({ each, pairs }) => [
    `${each.title}; ${each.deviceTokens.toLocaleString("en")} tokens`,
    percentSpread(pairs.map(({ equal }) => equal.attained)),
    percentSpread(pairs.map(({ lent }) => lent.attained)),
    signedPoints(mean(pairs.map(gainOf)) ?? 0),
    signedPoints(Math.min(...pairs.map(gainOf))),
    `${total(pairs, ({ equal }) => equal.preemptions)} / ${total(pairs, ({ lent }) => lent.preemptions)}`,
    `${total(pairs, ({ equal }) => equal.lost)} / ${total(pairs, ({ lent }) => lent.lost)}`,
    (total(pairs, ({ lent }) => lent.moves) / pairs.length).toFixed(0),
  ]);
  const head = [
    "instances and memory",
    "equal shares %",
    "lending %",
    "mean gain",
    "least gain",
    "preemptions, equal / lending",
    "unserved, equal / lending",
    "moves a run",
  ];
  return [
    "### Instances that share one GPU's memory",
    "",
    `Two or three instances, each with its part of the GPU's compute (kernels two or three times as long), keep their KV in one memory: equal fixed shares, or shares that lending moves every 2 s. Memory is told in tokens of Llama-3-8B; ${seeds.length} seeds; attainment is of all instances' requests. How instances slow each other's compute as their loads change is not modelled.`,
    "",
    lendingWords(runs),
    "",
    mdTable(head, rows),
  ];
}

function lendingWords(
  runs: readonly { readonly each: (typeof LENDING_CASES)[number]; readonly pairs: readonly LendingPair[] }[],
): string {
  const meanGain = (pairs: readonly LendingPair[]) => mean(pairs.map(gainOf)) ?? 0;
  const paying = runs.filter(({ pairs }) => meanGain(pairs) > CLEAR);
  const losing = runs.filter(({ pairs }) => meanGain(pairs) < -NOTHING);
  const nothing = runs.length - paying.length - losing.length;
  const all = runs.flatMap(({ pairs }) => pairs);
  const below = all.filter((pair) => gainOf(pair) < -NOTHING).length;
  const over = all.filter(({ lent }) => lent.mostLentShare > 1).length;
  const names = (list: typeof runs) =>
    list.map(({ each, pairs }) => `${each.name} (${signedPoints(meanGain(pairs))})`).join(", ");
  return [
    paying.length > 0
      ? `Lending gains more than a point in ${paying.length} of ${runs.length} cases: ${names(paying)}.`
      : "Lending gains a point in no case.",
    `It changes nothing (between -0.5 and +1 point) in ${nothing}.`,
    losing.length > 0 ? `It costs more than half a point in ${names(losing)}.` : "",
    `In ${below} of ${all.length} runs it is more than half a point below equal shares.`,
    over === 0
      ? "The shares never summed to more than the device."
      : `In ${over} runs the shares summed to more than the device.`,
  ]
    .filter((text) => text !== "")
    .join(" ");
}

function gainOf({ equal, lent }: LendingPair): number {
  return lent.attained - equal.attained;
}

function total(pairs: readonly LendingPair[], pick: (pair: LendingPair) => number): number {
  return pairs.reduce((sum, pair) => sum + pick(pair), 0);
}

/** "+3.1" points of a difference of shares. */
function signedPoints(share: number): string {
  const text = (100 * share).toFixed(1);
  if (Number(text) === 0) return "0.0";
  return Number(text) > 0 ? `+${text}` : text;
}
