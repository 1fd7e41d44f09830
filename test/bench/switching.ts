import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { HandOver, Measure, Pause } from "@fulcrum/engine-sim/workers/resident-protocol.js";
import { EngineWorkers } from "./switching-engine.js";

type Split = readonly [prefillSmPct: number, decodeSmPct: number];

/** Both roles' shares change with every switch, so that each prepares two new workers. */
const SPLITS: readonly [Split, Split] = [
  [60, 40],
  [50, 50],
];
const WARM_UP_S = 15;

interface Options {
  readonly switches: number;
  readonly naiveSwitches: number;
  readonly prepareMs: number;
  readonly ratePerS: number;
  readonly speed: number;
  readonly baselineS: number;
}

/**
 * `npm run bench -- switching`: what a switch costs the requests under steady load, on engine-sim as real processes
 * moved by the mps-respawn driver: without switching, with it, and the naive way (semi-PD §4.3). Prints, hand-over by
 * hand-over, and says at the end whether the longest pause at one was within an iteration.
 */
export async function switchingBench(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      json: { type: "string" },
      switches: { type: "string", default: "100" },
      "naive-switches": { type: "string", default: "5" },
      "prepare-s": { type: "string", default: "10" },
      rate: { type: "string", default: "4" },
      speed: { type: "string", default: "1" },
      "baseline-s": { type: "string", default: "60" },
    },
  });
  const numberOf = (flag: Exclude<keyof typeof values, "json">, min: number, max: number): number => {
    const value = Number(values[flag]);
    if (value >= min && value <= max) return value;
    throw new Error(`--${flag} must be ${min}..${max}, got ${values[flag]}`);
  };
  const options: Options = {
    switches: numberOf("switches", 1, 10_000),
    naiveSwitches: numberOf("naive-switches", 0, 10_000),
    prepareMs: 1_000 * numberOf("prepare-s", 0, 600),
    ratePerS: numberOf("rate", 0.1, 100),
    speed: numberOf("speed", 0.05, 20),
    baselineS: numberOf("baseline-s", 1, 3_600),
  };
  const { switches, naiveSwitches, prepareMs, ratePerS, speed } = options;
  console.log(
    `\nswitching, engine-sim as processes: ${ratePerS} requests/s (200 to 1000 tokens in, 100 to 300 out), preparation ${prepareMs / 1_000} s, splits ${SPLITS.map((split) => split.join("/")).join(" and ")} in turn, engine speed ${speed}; machine's load ${loadavg()[0]!.toFixed(1)} before\n` +
      "  all times are engine time; a pause: a role has something to run and runs nothing; core: the part of it in which the processes in question could have run and waited for one (/proc/<pid>/schedstat)",
  );
  const folder = mkdtempSync(join(tmpdir(), "fulcrum-switching-"));
  try {
    const overlapped = await phase(join(folder, "o"), "overlapped", switches, options);
    const naive = naiveSwitches > 0 ? await phase(join(folder, "n"), "naive", naiveSwitches, options) : null;
    if (values.json)
      writeFileSync(values.json, `${JSON.stringify({ options, overlapped, naive }, null, 2)}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One engine: the same load without switching first, under either split, then so many switches in a row. */
async function phase(
  folder: string,
  switching: "overlapped" | "naive",
  switches: number,
  { prepareMs, ratePerS, speed, baselineS }: Options,
) {
  const engine = await EngineWorkers.start({
    folder,
    ratePerS,
    speed,
    prepareMs,
    split: SPLITS[0],
    switching,
  });
  try {
    const seconds = (engineS: number): Promise<void> => sleep((1_000 * engineS) / speed);
    await seconds(WARM_UP_S);
    const baseline: Measure[] = [];
    for (const [generation, split] of SPLITS.entries()) {
      if (generation > 0) await engine.switchTo(generation, ...split);
      await seconds(1);
      await engine.measure();
      await seconds(baselineS / 2);
      baseline.push(await engine.measure());
    }
    baseline.forEach((measure, i) =>
      print(`no switching, ${SPLITS[i]?.join("/")}, ${baselineS / 2} s`, measure),
    );
    const tookMs: number[] = [];
    let printed = 0;
    for (let done = 0; done < switches; done += 1) {
      const generation = SPLITS.length + done;
      tookMs.push((await engine.switchTo(generation, ...splitAt(done))) * speed);
      const { handOvers } = await engine.measure(false);
      for (const handOver of handOvers.slice(printed)) printHandOver(done + 1, handOver);
      printed = handOvers.length;
    }
    await seconds(1);
    const switched = await engine.measure();
    for (const handOver of switched.handOvers.slice(printed)) printHandOver(switches, handOver);
    print(
      `${switches} switches in a row, ${switching === "naive" ? "the naive way" : "delayed and asynchronous"}`,
      switched,
    );
    const end = await engine.finish();
    const { arrived, finished, refused, preempted, repeatedTokens, lostTokens, refusedResults } = end;
    const took = [...tookMs].sort((a, b) => a - b);
    const usage = engine.usage();
    const leftBlocks = usage.prefill.usedBlocks + usage.decode.usedBlocks;
    console.log(
      `    a switch took ${ms(took[0] ?? 0)} to ${ms(took.at(-1) ?? 0)}, preparation included; requests: ${arrived} arrived, ${finished} finished, ${refused} refused, ${arrived - finished - refused} lost, ${preempted} preempted\n` +
        `    tokens repeated ${repeatedTokens}, tokens lost ${lostTokens}, results refused under an old turn ${refusedResults}; KV blocks still held at the end ${leftBlocks}`,
    );
    printVerdict(switched);
    return { baseline, switched, end, tookMs, leftBlocks };
  } finally {
    await engine.end();
  }
}

function splitAt(switches: number): Split {
  return SPLITS[switches % 2 === 0 ? 0 : 1];
}

function print(what: string, measure: Measure): void {
  const { largestGapMs, gapMs, largestPauseMs, largestIterationMs, medianIterationMs, tokens } = measure;
  console.log(
    `  ${what}: ${tokens} tokens\n` +
      `    between two tokens of a request: p50 ${ms(gapMs.p50)}, p99 ${ms(gapMs.p99)}, p99.99 ${ms(gapMs.p9999)}, largest ${ms(largestGapMs)}\n` +
      `    largest pause: prefill ${ms(largestPauseMs.prefill)}, decode ${ms(largestPauseMs.decode)}; iteration, median and longest: prefill ${ms(medianIterationMs.prefill)}, ${ms(largestIterationMs.prefill)}, decode ${ms(medianIterationMs.decode)}, ${ms(largestIterationMs.decode)}`,
  );
}

/** A hand-over is printed with the switch after which its first iteration was seen to end: an idle role's comes late. */
function printHandOver(switchNumber: number, handOver: HandOver): void {
  const { role, turn, pauseMs, turnMs, coreWaitMs, iterationMs, gapMs, longestBefore } = handOver;
  console.log(
    `    switch ${switchNumber}, ${role} turn ${turn}: pause ${pause({ ms: pauseMs, coreWaitMs })}, ${ms(turnMs)} of it until the turn was seen; first iteration ${ms(iterationMs)}, its tokens after at most ${ms(gapMs)}; longest pause since the hand-over before: ${pause(longestBefore)}`,
  );
}

/** Was any role without an iteration at a hand-over for longer than one of its iterations takes, and what took so long. */
function printVerdict({ handOvers, medianIterationMs }: Measure): void {
  const roles = (["prefill", "decode"] as const).map((role) => {
    const own = handOvers.filter((handOver) => handOver.role === role);
    const pauses = own.map(({ pauseMs, coreWaitMs }) => ({ ms: pauseMs, coreWaitMs }));
    const worst = longest(pauses);
    const ownMs = Math.max(0, ...pauses.map(({ ms: pauseMs, coreWaitMs }) => pauseMs - (coreWaitMs ?? 0)));
    const iterationMs = medianIterationMs[role];
    return {
      isWithin: worst.ms <= iterationMs,
      isOwnWithin: ownMs <= iterationMs,
      verdict: `${role} ${ms(worst.ms)}, one iteration ${ms(iterationMs)} (median)`,
      about: `${role}: ${own.length} hand-overs, longest pause ${pause(worst)}, longest without waiting for a core ${ms(ownMs)}; with no hand-over in it, longest pause ${pause(longest(own.map(({ longestBefore }) => longestBefore)))}`,
    };
  });
  for (const { about } of roles) console.log(`    ${about}`);
  const isWithin = roles.every((role) => role.isWithin);
  const isOwnWithin = roles.every((role) => role.isOwnWithin);
  console.log(
    `    largest pause at a hand-over ${isWithin ? "within" : "NOT within"} one iteration: ${roles.map(({ verdict }) => verdict).join("; ")}${isWithin ? "" : `; without waiting for a core ${isOwnWithin ? "within" : "NOT within"} it`}`,
  );
}

function longest(pauses: readonly Pause[]): Pause {
  return pauses.reduce<Pause>((most, one) => (one.ms > most.ms ? one : most), { ms: 0, coreWaitMs: 0 });
}

function pause({ ms: durationMs, coreWaitMs }: Pause): string {
  return `${ms(durationMs)} (core ${coreWaitMs === null ? "unknown" : ms(coreWaitMs)})`;
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`;
}
