import { describe, expect, it } from "vitest";
import { fitToContext, poissonArrivals, replayArrivals } from "./arrivals.js";
import type { SimRequest } from "./job.js";
import { createRandom, valueAtQuantile } from "./random.js";
import { parseWorkload, ratesAt, workloadArrivals } from "./workload.js";

function json(): Record<string, unknown> {
  const short = {
    weight: 1,
    promptTokens: [
      [0, 10],
      [1, 10],
    ],
    outputTokens: [
      [0, 5],
      [1, 15],
    ],
  };
  const long = {
    weight: 3,
    promptTokens: [
      [0, 100],
      [1, 100],
    ],
    outputTokens: [
      [0, 50],
      [1, 50],
    ],
  };
  return {
    name: "two phases",
    sources: "made up",
    kinds: {
      chat: [short, long],
      document: [
        {
          ...long,
          promptTokens: [
            [0, 1000],
            [1, 1000],
          ],
        },
      ],
    },
    phases: [
      { name: "first", durationS: 100, ratePerS: { chat: 10 } },
      { name: "second", durationS: 100, rampS: 20, ratePerS: { document: 2 } },
    ],
  };
}

const workload = parseWorkload(json(), "w.json");
const options = { seed: 5, rateScale: 1, startMs: 0, repeat: true };

function upTo(source: Iterator<SimRequest>, endMs: number): SimRequest[] {
  const taken: SimRequest[] = [];
  for (let step = source.next(); step.done !== true && step.value.arrivalMs < endMs; step = source.next()) {
    taken.push(step.value);
  }
  return taken;
}

describe("workloadArrivals", () => {
  it("follows the phases' rates, with a ramp in between", () => {
    const arrivals = upTo(workloadArrivals(workload, options), 200_000);
    const chats = arrivals.filter((request) => request.promptTokens < 1000);
    const inFirst = chats.filter((request) => request.arrivalMs < 100_000).length;
    // Poisson of mean 1000: five standard deviations are 158.
    expect(Math.abs(inFirst - 1000)).toBeLessThan(158);
    expect(chats.some((request) => request.arrivalMs > 120_000)).toBe(false);
    expect(arrivals.some((request) => request.promptTokens === 1000 && request.arrivalMs < 100_000)).toBe(
      false,
    );
    expect(ratesAt(workload, 110_000)).toEqual({ chat: 5, document: 1 });
    expect(ratesAt(workload, 150_000)).toEqual({ document: 2 });
  });

  it("keeps prompt and output joined, in the weights of the bands", () => {
    const chats = upTo(workloadArrivals(workload, options), 100_000);
    for (const { promptTokens, outputTokens } of chats) {
      if (promptTokens === 100) expect(outputTokens).toBe(50);
      else expect(outputTokens).toBeLessThanOrEqual(15);
    }
    const long = chats.filter((request) => request.promptTokens === 100).length / chats.length;
    expect(long).toBeGreaterThan(0.68);
    expect(long).toBeLessThan(0.82);
  });

  it("gives the same requests for the same seed, and others for another", () => {
    const take = (seed: number): SimRequest[] =>
      upTo(workloadArrivals(workload, { ...options, seed }), 50_000);
    expect(take(5)).toEqual(take(5));
    expect(take(5)).not.toEqual(take(6));
  });

  it("repeats with new draws, or ends", () => {
    const endless = upTo(workloadArrivals(workload, options), 300_000);
    const secondRound = endless.filter((request) => request.arrivalMs >= 200_000).length;
    expect(Math.abs(secondRound - 1000)).toBeLessThan(158);
    const once = upTo(workloadArrivals(workload, { ...options, repeat: false }), 1e9);
    expect(once.at(-1)?.arrivalMs).toBeLessThan(200_000);
    const fromSecond = upTo(workloadArrivals(workload, { ...options, startMs: 130_000 }), 60_000);
    expect(fromSecond.every((request) => request.promptTokens === 1000)).toBe(true);
  });

  it.each([
    [{ phases: [] }, "w.json: phases must be a list of 1..1000, got a list of 0"],
    [
      { phases: [{ name: "p", durationS: 0, ratePerS: {} }] },
      "w.json: phases[0].durationS must be a number 0.001..1000000, got 0",
    ],
    [
      { phases: [{ name: "p", durationS: 1, ratePerS: { other: 1 } }] },
      "w.json: phases[0].ratePerS.other is unknown; known: chat, document",
    ],
    [
      { phases: [{ name: "p", durationS: 1, ratePerS: { chat: 0 } }] },
      "w.json: phases must have a rate above 0 in at least one phase",
    ],
    [
      {
        kinds: {
          chat: [
            {
              weight: 1,
              promptTokens: [
                [0, 5],
                [0.5, 4],
                [1, 9],
              ],
              outputTokens: [
                [0, 1],
                [1, 1],
              ],
            },
          ],
        },
      },
      "w.json: kinds.chat[0].promptTokens[1] must have a higher probability",
    ],
    [
      {
        kinds: {
          chat: [
            {
              weight: 1,
              promptTokens: [
                [0, 5],
                [0.5, 7],
              ],
              outputTokens: [
                [0, 1],
                [1, 1],
              ],
            },
          ],
        },
      },
      "w.json: kinds.chat[0].promptTokens must start at probability 0 and end at 1",
    ],
  ])("refuses %j by field", (change, message) => {
    expect(() => parseWorkload({ ...json(), ...change }, "w.json")).toThrow(message);
  });
});

describe("replayArrivals", () => {
  const trace = [0, 1000, 3000].map((atMs, i) => ({ atMs, promptTokens: i + 1, outputTokens: 1 }));

  it("keeps order and lengths, stretches time, and begins again one mean gap after the end", () => {
    const source = replayArrivals(trace, { rateScale: 2, startMs: 0, repeat: true });
    expect(upTo(source, 3000).map(({ arrivalMs, promptTokens }) => [arrivalMs, promptTokens])).toEqual([
      [0, 1],
      [500, 2],
      [1500, 3],
      [2250, 1],
      [2750, 2],
    ]);
  });

  it("starts in the middle and ends when told to", () => {
    const source = replayArrivals(trace, { rateScale: 1, startMs: 900, repeat: false });
    expect(Array.from(source, ({ id, arrivalMs }) => [id, arrivalMs])).toEqual([
      [0, 100],
      [1, 2100],
    ]);
  });
});

describe("poissonArrivals", () => {
  it("keeps the rate and draws whole rows", () => {
    const rows = [
      { promptTokens: 1, outputTokens: 10 },
      { promptTokens: 2, outputTokens: 20 },
    ];
    const arrivals = upTo(poissonArrivals(rows, 10, 3), 100_000);
    expect(Math.abs(arrivals.length - 1000)).toBeLessThan(158);
    expect(arrivals.every(({ promptTokens, outputTokens }) => outputTokens === promptTokens * 10)).toBe(true);
  });
});

describe("fitToContext", () => {
  it("cuts prompts, drops what is too long or empty, and counts both", () => {
    const rows = [
      { promptTokens: 5000, outputTokens: 100 },
      { promptTokens: 100, outputTokens: 4000 },
      { promptTokens: 10, outputTokens: 0 },
      { promptTokens: 10, outputTokens: 10 },
    ];
    expect(fitToContext(rows, 4000, 3200)).toEqual({
      rows: [
        { promptTokens: 3200, outputTokens: 100 },
        { promptTokens: 10, outputTokens: 10 },
      ],
      droppedTooLong: 1,
      droppedEmpty: 1,
      truncated: 1,
    });
  });
});

describe("random numbers", () => {
  it("are uniform, and independent between streams of one seed", () => {
    const [a, b] = [createRandom(1, 0), createRandom(1, 1)];
    let [sum, product] = [0, 0];
    const count = 20_000;
    for (let i = 0; i < count; i += 1) {
      const [x, y] = [a.uniform() - 0.5, b.uniform() - 0.5];
      sum += x;
      product += x * y;
    }
    // Standard errors 0.002 and 0.0006: five of each are allowed.
    expect(Math.abs(sum / count)).toBeLessThan(0.0102);
    expect(Math.abs(product / count)).toBeLessThan(0.003);
  });

  it("read a quantile table linearly between its points", () => {
    const table = [
      [0, 10],
      [0.5, 20],
      [1, 100],
    ] as const;
    expect([0, 0.25, 0.5, 0.75].map((u) => valueAtQuantile(table, u))).toEqual([10, 15, 20, 60]);
  });
});
