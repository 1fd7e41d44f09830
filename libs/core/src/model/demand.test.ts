import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { LatestSignal } from "../decision.js";
import { SAMPLE_NOW_MS } from "../fixtures.js";
import { NO_WORK, SmallEngine, latestOf, lognormal, uniformOf } from "../search-fixtures.js";
import { emptySignal } from "../signal/summarise.js";
import { NO_DEMAND, demandOf, noteDemand } from "./demand.js";
import type { Demand, DemandMemory } from "./demand.js";

interface Coming {
  readonly ratePerS: number;
  readonly promptTokens: number;
  readonly cv: number;
}

/** Windows of Poisson arrivals with lognormal prompts; nothing is served. */
function arrivals(seed: number): (coming: Coming, durationMs: number) => LatestSignal {
  const uniform = uniformOf(seed);
  return ({ ratePerS, promptTokens, cv }, durationMs) => {
    const prompts: number[] = [];
    const gapMs = () => (-1000 * Math.log(1 - uniform())) / ratePerS;
    for (let atMs = gapMs(); atMs < durationMs; atMs += gapMs()) {
      prompts.push(Math.ceil(lognormal(uniform, promptTokens, cv)));
    }
    return windowOf(prompts, durationMs);
  };
}

function windowOf(prompts: readonly number[], durationMs: number): LatestSignal {
  const sum = (of: (prompt: number) => number) => prompts.reduce((total, prompt) => total + of(prompt), 0);
  const work = {
    ...NO_WORK,
    promptTokensSq: sum((prompt) => prompt ** 2),
    maxPromptTokens: prompts.length > 0 ? Math.max(...prompts) : null,
  };
  const served = { finished: 0, outputTokens: 0, ttft: null, tpot: null };
  return latestOf({ durationMs, arrivals: prompts.length, promptTokens: sum((p) => p), work, ...served });
}

const noteAll = (windows: readonly LatestSignal[], start = NO_DEMAND) =>
  windows.reduce((memory, window) => noteDemand(memory, window), start);
const seeds = Array.from({ length: 20 }, (_, i) => i + 1);
const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const believed = (memory: DemandMemory): Demand => demandOf(memory)!;

describe("what comes in", () => {
  test("regular windows give rate, mean and spread back exactly, whatever their length", () => {
    // The pattern of 20 prompts takes 4 s.
    const prompts = Array.from({ length: 20 }, (_, i) => 100 + 40 * i);
    for (const repeats of [1, 3, 15]) {
      const window = windowOf(Array.from({ length: repeats }, () => prompts).flat(), 4_000 * repeats);
      const demand = believed(noteAll(Array.from({ length: 30 }, () => window)));
      expect(demand.ratePerS).toBeCloseTo(5, 9);
      expect(demand.promptMean).toBeCloseTo(480, 6);
      expect(demand.promptMeanSq).toBeCloseTo(meanOf(prompts.map((p) => p ** 2)), 3);
      expect(Math.max(...demand.prompts.map(({ tokens }) => tokens))).toBeLessThanOrEqual(860);
    }
  });

  test.each([
    { name: "chat", ratePerS: 10, promptTokens: 220, cv: 1.5 },
    { name: "documents", ratePerS: 3, promptTokens: 2_500, cv: 0.3 },
  ])("$name: two minutes of Poisson arrivals give load and tail to what so few requests tell", (coming) => {
    for (const seed of seeds) {
      const draw = arrivals(seed);
      const demand = believed(noteAll(Array.from({ length: 24 }, () => draw(coming, 5_000))));
      const offered = demand.ratePerS * demand.promptMean;
      const error = Math.log(offered / (coming.ratePerS * coming.promptTokens));
      expect(Math.abs(error)).toBeLessThan(4 * Math.hypot(demand.prefillDoubt, 0.01));
      expect(demand.prefillDoubt).toBeLessThan(0.2);
      // The lengths that stand for the prompts carry their load.
      const carried = demand.prompts.reduce((sum, { tokens, share }) => sum + share * tokens, 0);
      expect(Math.abs(carried / demand.promptMean - 1)).toBeLessThan(0.12);
      expect(demand.prompts.toSorted((a, b) => a.tokens - b.tokens)).toEqual(demand.prompts);
    }
  });

  test("more requests leave less doubt", () => {
    const draw = arrivals(1);
    const chat = { ratePerS: 10, promptTokens: 220, cv: 1 };
    const doubts = [1, 4, 16].map((n) =>
      believed(noteAll(Array.from({ length: n }, () => draw(chat, 5_000)))),
    );
    expect(doubts[0]!.prefillDoubt).toBeGreaterThan(doubts[1]!.prefillDoubt);
    expect(doubts[1]!.prefillDoubt).toBeGreaterThan(doubts[2]!.prefillDoubt);
  });

  test("an engine that tells no squares is taken for one with a usual spread", () => {
    const mute = latestOf({ durationMs: 5_000, arrivals: 10, promptTokens: 3_000, work: null });
    const demand = believed(noteAll([mute, mute, mute]));
    expect(demand.promptMean).toBeCloseTo(300, 9);
    expect(demand.promptMeanSq).toBeGreaterThan(300 ** 2);
    expect(demand.contextPerSequence).toBeGreaterThan(300);
  });
});

/** Windows until the memory says that the load has changed since it did; at most `most`. */
function noticedAfter(memory: DemandMemory, next: () => LatestSignal, most: number) {
  let now = memory;
  for (let n = 1; n <= most; n++) {
    const window = next();
    now = noteDemand(now, window);
    if (now.steadyS < (n * window.durationMs) / 1000) return { windows: n, now };
  }
  return { windows: Infinity, now };
}

describe("a change of the load", () => {
  const chat = { ratePerS: 10, promptTokens: 300, cv: 1 };
  test.each([
    { name: "twice the rate", to: { ...chat, ratePerS: 20 } },
    { name: "a fifth of the rate", to: { ...chat, ratePerS: 2 } },
    { name: "eight times the prompt", to: { ...chat, promptTokens: 2_400 } },
    { name: "twice the prompt", to: { ...chat, promptTokens: 600 } },
    { name: "fewer and longer", to: { ratePerS: 2, promptTokens: 2_400, cv: 0.3 } },
  ])("$name is noticed within four windows of 5 s, and believed within two minutes", ({ to }) => {
    for (const seed of seeds) {
      const draw = arrivals(seed);
      const before = noteAll(Array.from({ length: 24 }, () => draw(chat, 5_000)));
      const { windows, now } = noticedAfter(before, () => draw(to, 5_000), 4);
      expect(windows).toBeLessThanOrEqual(4);
      const later = believed(
        noteAll(
          Array.from({ length: 24 - windows }, () => draw(to, 5_000)),
          now,
        ),
      );
      const offered = (load: Coming) => load.ratePerS * load.promptTokens;
      const load = later.ratePerS * later.promptMean;
      expect(Math.abs(Math.log(load / offered(to)))).toBeLessThan(0.45);
      expect(Math.abs(Math.log(later.ratePerS / to.ratePerS))).toBeLessThan(0.5);
      expect(Math.abs(Math.log(later.promptMean / to.promptTokens))).toBeLessThan(0.5);
    }
  });

  test.each([1_000, 30_000])("the length of windows does not hide it: %i ms", (durationMs) => {
    for (const seed of seeds) {
      const draw = arrivals(seed);
      const before = noteAll(Array.from({ length: 120_000 / durationMs }, () => draw(chat, durationMs)));
      const long = { ratePerS: 10, promptTokens: 2_400, cv: 1 };
      const { windows } = noticedAfter(before, () => draw(long, durationMs), 60_000 / durationMs);
      expect(windows * durationMs).toBeLessThanOrEqual(Math.max(durationMs, 20_000));
    }
  });

  test.each([
    { ratePerS: 0.5, promptTokens: 300, cv: 1, windowMs: 5_000 },
    { ratePerS: 2, promptTokens: 2_500, cv: 0.3, windowMs: 5_000 },
    { ratePerS: 10, promptTokens: 300, cv: 0, windowMs: 5_000 },
    { ratePerS: 10, promptTokens: 300, cv: 1, windowMs: 1_000 },
    { ratePerS: 10, promptTokens: 220, cv: 2.2, windowMs: 5_000 },
    { ratePerS: 40, promptTokens: 220, cv: 1.5, windowMs: 5_000 },
  ])(
    "steady Poisson arrivals are no change: at most 2 false alarms in 4,000 windows ($ratePerS/s, CV $cv)",
    ({ windowMs, ...coming }) => {
      let alarms = 0;
      for (const seed of [1, 2, 3, 4]) {
        const draw = arrivals(seed);
        let memory = NO_DEMAND;
        for (let i = 0; i < 1_000; i++) {
          const next = noteDemand(memory, draw(coming, windowMs));
          if (next.steadyS < memory.steadyS) alarms += 1;
          memory = next;
        }
        const rate = believed(memory).ratePerS;
        expect(Math.abs(rate / coming.ratePerS - 1)).toBeLessThan(4 / Math.sqrt(coming.ratePerS * 250));
      }
      expect(alarms).toBeLessThanOrEqual(2);
    },
  );
});

describe("answers", () => {
  interface Told {
    readonly short: number;
    readonly long: number;
    readonly demand: Demand;
  }

  /** Beliefs at 5 s, 10 s, ... of an engine that starts empty, with both plain estimates at that time. */
  function filling(seed: number, answerTokens: number, answerCv: number): Told[] {
    const load = { ratePerS: 8, promptTokens: 100, promptCv: 1, answerTokens, answerCv };
    const engine = new SmallEngine(seed);
    let memory = NO_DEMAND;
    let [finished, tokens, finishedTokens] = [0, 0, 0];
    return Array.from({ length: 24 }, () => {
      const window = engine.run({ prefillSmPct: 50, decodeSmPct: 100 }, load, 5_000);
      memory = noteDemand(memory, latestOf(window));
      finished += window.finished;
      tokens += window.outputTokens;
      finishedTokens += window.work!.finishedOutputTokens!;
      return { short: finishedTokens / finished, long: tokens / finished, demand: believed(memory) };
    });
  }

  // An answer of 400 tokens takes about 12 s here: the first half minute is 2.5 lives.
  test.each([0.73, 1])(
    "while a batch fills the mean answer is not far off, and then right (CV %f)",
    (answerCv) => {
      const runs = seeds.slice(0, 8).map((seed) => filling(seed, 400, answerCv));
      const meanAt = (seconds: number, of: (told: Told) => number) =>
        meanOf(runs.map((run) => of(run[seconds / 5 - 1]!))) / 400;
      expect(Math.abs(meanAt(30, (told) => told.demand.outputMean) - 1)).toBeLessThan(0.15);
      expect(Math.abs(meanAt(60, (told) => told.demand.outputMean) - 1)).toBeLessThan(0.08);
      expect(Math.abs(meanAt(120, (told) => told.demand.outputMean) - 1)).toBeLessThan(0.05);
      // What finished first is short: that alone would be far off.
      expect(meanAt(30, (told) => told.short)).toBeLessThan(0.85);
    },
  );

  test("it lies between all tokens and finished ones over the finished, and knows how little that is", () => {
    for (const seed of seeds.slice(0, 8)) {
      for (const answerCv of [0.3, 0.73, 1]) {
        const told = filling(seed, 400, answerCv).slice(2);
        for (const { short, long, demand } of told) {
          expect(demand.outputMean).toBeGreaterThan(0.99 * short);
          expect(demand.outputMean).toBeLessThan(1.01 * long);
          expect(Math.abs(Math.log(demand.outputMean / 400))).toBeLessThan(5 * demand.decodeDoubt);
        }
        expect(told.at(-1)!.demand.decodeDoubt).toBeLessThan(told[0]!.demand.decodeDoubt);
      }
    }
  });

  test("without the finished answers' tokens all tokens must do", () => {
    const mute = latestOf({ durationMs: 5_000, arrivals: 10, finished: 10, outputTokens: 2_000, work: null });
    // Six answers of 250 tokens are supposed: 200 beside the nearly twenty seen, and hardly anything beside hundreds.
    const early = believed(noteAll([mute, mute])).outputMean;
    expect(early).toBeGreaterThan(200);
    expect(early).toBeLessThan(215);
    const later = believed(noteAll(Array.from({ length: 60 }, () => mute))).outputMean;
    expect(later - 200).toBeLessThan(1);
  });
});

describe("nothing", () => {
  const empty: LatestSignal = { ...emptySignal("fresh"), generation: 1 };
  const silence: LatestSignal = { ...empty, durationMs: 5_000, toAtMs: SAMPLE_NOW_MS };

  test("has come: there is no demand", () => {
    expect(demandOf(NO_DEMAND)).toBeNull();
    expect(demandOf(noteAll([empty, silence, silence]))).toBeNull();
  });

  test("comes any more: the rate falls and the kind is remembered", () => {
    const draw = arrivals(1);
    const chat = { ratePerS: 10, promptTokens: 300, cv: 1 };
    const before = noteAll(Array.from({ length: 24 }, () => draw(chat, 5_000)));
    const rates = [1, 4, 12].map((n) => {
      const demand = demandOf(
        noteAll(
          Array.from({ length: n }, () => silence),
          before,
        ),
      );
      return demand?.ratePerS ?? 0;
    });
    expect(rates[0]).toBeLessThan(believed(before).ratePerS);
    expect(rates[1]).toBeLessThan(rates[0]!);
    expect(rates[2]).toBeLessThan(2);
  });

  test("that a window may hold makes a demand that cannot be reckoned with", () => {
    const count = fc.oneof(fc.constantFrom(0, 1, 1e12), fc.integer({ min: 0, max: 1_000_000 }));
    const gauge = fc.option(fc.oneof(fc.constantFrom(0, 1e-9, 1e18), count), { nil: null });
    const windows = fc.array(
      fc.record({
        durationMs: fc.oneof(fc.constantFrom(0, 1, 3_600_000), fc.integer({ min: 1, max: 60_000 })),
        arrivals: count,
        promptTokens: count,
        finished: count,
        outputTokens: count,
        promptTokensSq: gauge,
        maxPromptTokens: gauge,
        finishedOutputTokens: gauge,
        decodeBatchMean: gauge,
        decodeContextMean: gauge,
      }),
      { minLength: 1, maxLength: 8 },
    );
    fc.assert(
      fc.property(windows, (given) => {
        const memory = noteAll(
          given.map(({ durationMs, arrivals: came, promptTokens, finished, outputTokens, ...work }) =>
            latestOf({
              durationMs,
              arrivals: came,
              promptTokens,
              finished,
              outputTokens,
              work: {
                ...NO_WORK,
                ...work,
              },
            }),
          ),
        );
        const demand = demandOf(memory);
        if (demand === null) return;
        const { prompts, ...numbers } = demand;
        for (const value of [...Object.values(numbers), ...prompts.flatMap((each) => Object.values(each))]) {
          expect(Number.isFinite(value) && value >= 0).toBe(true);
        }
        expect(demand.promptMeanSq).toBeGreaterThanOrEqual(demand.promptMean ** 2 * (1 - 1e-9));
      }),
      { numRuns: 500 },
    );
  });
});

describe("a rate that drifts", () => {
  const windows = (rates: readonly number[], seed: number) => {
    const draw = arrivals(seed);
    return rates.map((ratePerS) => draw({ ratePerS, promptTokens: 250, cv: 1 }, 5_000));
  };
  const rising = Array.from({ length: 120 }, (_, i) => 6 + (6 * i) / 120);

  test("is followed within a tenth, from a half to the whole of a load in ten minutes", () => {
    const errors = seeds.map((seed) => Math.log(believed(noteAll(windows(rising, seed))).ratePerS / 12));
    expect(Math.abs(meanOf(errors))).toBeLessThan(0.1);
    // The account of five minutes alone would be a quarter too low at the end.
    expect(meanOf(errors)).toBeGreaterThan(Math.log(0.9));
  });

  test("is not seen in chance: a steady load's rate is known to what ten minutes tell", () => {
    const steady = Array.from({ length: 120 }, () => 10);
    const found = seeds.map((seed) => believed(noteAll(windows(steady, seed))));
    const wide = found.filter(({ ratePerS }) => Math.abs(ratePerS / 10 - 1) > 0.06);
    expect(wide.length).toBeLessThanOrEqual(3);
    expect(meanOf(found.map(({ drifting }) => drifting))).toBeLessThan(0.35);
  });
});
