/** Windows and states that nobody should send to the policies that read `latest`: they answer, hold or stay legal, and alike. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { splitWithin } from "./allocation.js";
import { decide } from "./decide.js";
import type { Decision, LatestSignal, PolicyConfig, PolicyState, Snapshot } from "./decision.js";
import { SEARCH_PARTS } from "./decision.js";
import { DEFAULT_GUARDS, DEFAULT_SEARCH, DEFAULT_SEMI_PD } from "./defaults.js";
import { SAMPLE_NOW_MS, histogramWithPercentile, sampleSnapshot } from "./fixtures.js";
import type { WindowWork } from "./nouns.js";
import { WIDEST_LIMITS } from "./nouns.js";
import { sameDecision } from "./same-decision.js";
import { LONG_PROMPTS, NO_WORK, latestOf } from "./search-fixtures.js";
import { play } from "./search-scene.js";

const wild = fc.oneof(
  fc.constantFrom(NaN, Infinity, -Infinity, 0, -0, -1, 1e308, 5e-324, Number.MAX_SAFE_INTEGER, 0.1, 100),
  fc.double(),
  fc.integer({ min: -10, max: 200 }),
);
const maybe = fc.option(wild, { nil: null });
/** What passes the checks at the door, at its ends too. */
const gauge = fc.option(
  fc.oneof(fc.constantFrom(0, 5e-324, 1, 1e18), fc.double({ min: 0, max: 2_000, noNaN: true })),
  { nil: null },
);
const count = fc.oneof(fc.constantFrom(0, 1, 1e12), fc.integer({ min: 0, max: 10_000 }));
const share = fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: null });

const workOf = (value: fc.Arbitrary<number | null>) =>
  fc.record(
    Object.fromEntries(Object.keys(NO_WORK).map((field) => [field, value])),
  ) as unknown as fc.Arbitrary<WindowWork>;

const histogram = fc.option(
  fc
    .tuple(fc.integer({ min: 1, max: 20_000 }), fc.integer({ min: 0, max: 5_000 }))
    .map(([ms, samples]) => histogramWithPercentile(ms, 0.9, samples)),
  { nil: null },
);

/** Believable windows of engines that nobody has built. */
const oddLatest: fc.Arbitrary<LatestSignal> = fc
  .record({
    durationMs: fc.oneof(fc.constantFrom(0, 1, 3_600_000), fc.integer({ min: 1, max: 120_000 })),
    arrivals: count,
    promptTokens: count,
    finished: count,
    outputTokens: count,
    ttft: histogram,
    tpot: histogram,
    busy: fc.record({ prefillShare: share, decodeShare: share }),
    queue: fc.record({
      prefillWaiting: fc.option(count, { nil: null }),
      decodeRunning: fc.option(count, { nil: null }),
    }),
    kv: fc.record({
      totalTokens: fc.option(count, { nil: null }),
      usedTokens: fc.option(count, { nil: null }),
      preemptions: fc.option(count, { nil: null }),
    }),
    work: fc.option(workOf(gauge), { nil: null }),
    generation: fc.constantFrom(null, 1, 1, 1, 7),
  })
  .map((over) => latestOf(over));

const wildLatest = fc
  .record({
    durationMs: wild,
    arrivals: wild,
    promptTokens: wild,
    finished: wild,
    outputTokens: wild,
    toAtMs: maybe,
    fromAtMs: maybe,
    generation: maybe,
    work: fc.option(workOf(maybe), { nil: null }),
  })
  .map((over) => latestOf(over as Partial<LatestSignal>));

const numbers = fc.oneof(fc.constantFrom(0, 1e-300, 1e300, -1, 1e18), fc.double({ noNaN: true }));

/** A state that the search policy has written, some of its numbers replaced. */
const good = play({
  policy: { name: "search", params: DEFAULT_SEARCH },
  load: () => LONG_PROMPTS,
  durationMs: 30_000,
})
  .map(({ decision }) => decision.state)
  .at(-1)!;
const dentedState: fc.Arbitrary<PolicyState> = fc
  .tuple(fc.infiniteStream(fc.boolean()), fc.infiniteStream(fc.oneof(numbers, fc.anything())), fc.nat(40))
  .map(([, replaced, at]) => {
    let i = 0;
    const dent = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(dent);
      if (typeof value === "object" && value !== null) {
        return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, dent(field)]));
      }
      i += 1;
      return i % 41 === at ? replaced.next().value : value;
    };
    return { ...good, values: dent(good.values) as PolicyState["values"] };
  });
const anyState = fc.oneof(
  fc.constant(null),
  fc.constant(good),
  dentedState,
  fc.record({
    policy: fc.constantFrom("search", "semi-pd"),
    version: fc.constant(1),
    values: fc.dictionary(fc.constantFrom(...Object.keys(good.values), "ttft", "tpot"), fc.anything()),
  }) as fc.Arbitrary<PolicyState>,
);

const cap = fc.integer({ min: 0, max: 100 });
const recentMoves = fc.array(
  fc.record({
    atMs: fc.integer({ min: SAMPLE_NOW_MS - 100_000, max: SAMPLE_NOW_MS + 100_000 }),
    generation: fc.nat(),
    prefillDeltaPct: fc.integer({ min: -100, max: 100 }),
    decodeDeltaPct: fc.integer({ min: -100, max: 100 }),
  }),
  { maxLength: 64 },
);
const bound = fc.constantFrom(0.001, 1, 150, 2_000, 1e12);

const snapshots = (latest: fc.Arbitrary<LatestSignal>): fc.Arbitrary<Snapshot> =>
  fc
    .record({ latest, x: cap, y: cap, state: anyState, recentMoves, ttftMs: bound, tpotMs: bound })
    .map(({ x, y, ttftMs, tpotMs, ...parts }) =>
      sampleSnapshot({
        limits: WIDEST_LIMITS,
        current: { split: { prefillSmPct: x, decodeSmPct: y }, kvQuotaPct: 100, generation: 1 },
        slo: {
          ttft: { percentile: 0.9, boundMs: ttftMs },
          tpot: { percentile: 0.9, boundMs: tpotMs },
          attainmentShare: 0.9,
        },
        ...parts,
      }),
    );

const growth = fc.constantFrom(
  { small: 1, large: 1e6, gain: 1.2 },
  { small: 256, large: 4096, gain: 0.3 },
  { small: 16, large: 16.001, gain: -1.2 },
);
const phase = {
  kernelMs: fc.tuple(
    fc.constantFrom(0.001, 10, 1e4),
    fc.constantFrom(0, 0.06, 1e3),
    fc.constantFrom(0, 1e-6, 1),
  ),
  engineMs: fc.constantFrom(0, 10, 1e4),
  sensitivity: fc.constantFrom(0.02, 0.6, 1.2),
};
const prior = fc.oneof(fc.record(phase), fc.record({ ...phase, growth }));
const policies: fc.Arbitrary<PolicyConfig> = fc.oneof(
  fc
    .record({
      minGainShare: fc.constantFrom(0, 0.01, 1),
      moveKvQuota: fc.boolean(),
      prior: fc.option(fc.record({ prefill: prior, decode: prior }), { nil: null }),
      without: fc.subarray([...SEARCH_PARTS]),
    })
    .map((params): PolicyConfig => ({ name: "search", params })),
  fc.constantFrom(1, 100, 400).map((requestsPerDecision): PolicyConfig => ({
    name: "semi-pd",
    params: { ...DEFAULT_SEMI_PD, requestsPerDecision },
  })),
);

/** Every number in a decision is finite and nothing is undefined: it survives JSON as it is. */
function isPlainJson(value: unknown): boolean {
  if (value === undefined) return false;
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value !== "object" || value === null) return true;
  return Object.values(value).every(isPlainJson);
}

const throughJson = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

function expectSound(decision: Decision, snapshot: Snapshot): void {
  expect(isPlainJson(decision)).toBe(true);
  expect(sameDecision(decision, throughJson(decision))).toBe(true);
  if (decision.kind === "hold") {
    expect(decision.allocation.split).toEqual(snapshot.current.split);
    return;
  }
  const { split } = decision.allocation;
  const kept =
    split.prefillSmPct === snapshot.current.split.prefillSmPct &&
    split.decodeSmPct === snapshot.current.split.decodeSmPct;
  expect(kept || splitWithin(split, snapshot.limits)).toBe(true);
}

test.each([
  { name: "believable but odd", latest: oddLatest, runs: 200 },
  { name: "wild", latest: wildLatest, runs: 200 },
])("$name windows: total, legal, plain JSON, and the same after a trip through JSON", ({ latest, runs }) => {
  fc.assert(
    fc.property(snapshots(latest), policies, (snapshot, policy) => {
      const decision = decide(snapshot, policy, DEFAULT_GUARDS, SAMPLE_NOW_MS);
      expectSound(decision, snapshot);
      const again = decide(throughJson(snapshot), throughJson(policy), DEFAULT_GUARDS, SAMPLE_NOW_MS);
      expect(sameDecision(again, decision)).toBe(true);
      // And with what it answered, at the same windows and then at others.
      const next = { ...snapshot, state: decision.state };
      expectSound(decide(next, policy, DEFAULT_GUARDS, SAMPLE_NOW_MS), next);
    }),
    { numRuns: runs },
  );
});

test("odd windows in a row: what they teach stays something that a decision can be made of", () => {
  fc.assert(
    fc.property(fc.array(oddLatest, { minLength: 2, maxLength: 8 }), policies, (windows, policy) => {
      let state: PolicyState | null = null;
      windows.forEach((latest, i) => {
        const nowMs = SAMPLE_NOW_MS + i * 5_000;
        const snapshot = sampleSnapshot({
          state,
          latest: { ...latest, fromAtMs: nowMs - 5_000, toAtMs: nowMs },
        });
        const decision = decide(snapshot, policy, DEFAULT_GUARDS, nowMs);
        expectSound(decision, snapshot);
        ({ state } = decision);
      });
    }),
    { numRuns: 60 },
  );
});

describe("parameters and parts that are no such thing", () => {
  const policy = (params: unknown): PolicyConfig => ({ name: "search", params }) as PolicyConfig;
  const run = (config: PolicyConfig, over: Partial<Snapshot> = {}) =>
    decide(sampleSnapshot({ latest: latestOf(), ...over }), config, DEFAULT_GUARDS, SAMPLE_NOW_MS);

  test.each([
    { name: "no gain", params: { ...DEFAULT_SEARCH, minGainShare: NaN } },
    { name: "more than everything", params: { ...DEFAULT_SEARCH, minGainShare: 1.1 } },
    { name: "a quota that is neither moved nor not", params: { ...DEFAULT_SEARCH, moveKvQuota: "yes" } },
    { name: "a prior of one phase", params: { ...DEFAULT_SEARCH, prior: { prefill: null } } },
    { name: "left-out parts that are none", params: { ...DEFAULT_SEARCH, without: ["luck"] } },
    { name: "nothing", params: {} },
  ])("$name: held, and named", ({ params }) => {
    const decision = run(policy(params));
    expect(decision).toMatchObject({ kind: "hold", reason: "MAD_SIGNAL" });
    expect(decision.message).toContain("policy.params");
  });

  const PHASE = { kernelMs: [8, 0.06, 1e-6], engineMs: 8, sensitivity: 0.6 };
  const GROWTH = { small: 16, large: 64, gain: 0.2 };
  const told = (growth: unknown) =>
    run(policy({ ...DEFAULT_SEARCH, prior: { prefill: PHASE, decode: { ...PHASE, growth } } }));

  test.each([
    { growth: "fast", want: " is not a usable value, must be small, large and gain" },
    { growth: null, want: " is not a usable value, must be small, large and gain" },
    { growth: { ...GROWTH, small: 0 }, want: ".small is 0, must be a number from 1 to 1000000" },
    { growth: { ...GROWTH, large: 2e6 }, want: ".large is 2000000, must be a number from 1 to 1000000" },
    {
      growth: { ...GROWTH, large: 16 },
      want: ".large is 16, must be above policy.params.prior.decode.growth.small",
    },
    { growth: { ...GROWTH, gain: -1.3 }, want: ".gain is -1.3, must be a number from -1.2 to 1.2" },
    { growth: { ...GROWTH, gain: 1.3 }, want: ".gain is 1.3, must be a number from -1.2 to 1.2" },
    { growth: { small: 16, large: 64 }, want: ".gain is not a usable value" },
  ])("a growth of the sensitivity that cannot be: $want", ({ growth, want }) => {
    const decision = told(growth);
    expect(decision).toMatchObject({ kind: "hold", reason: "MAD_SIGNAL" });
    expect(decision.message).toContain(`policy.params.prior.decode.growth${want}`);
  });

  test.each([
    { name: "none, as in priors stored before there was one", growth: undefined },
    { name: "the least", growth: { small: 1, large: 1.5, gain: -1.2 } },
    { name: "the most", growth: { small: 1, large: 1e6, gain: 1.2 } },
  ])("a growth of the sensitivity that may be: $name", ({ growth }) => {
    expect(told(growth).reason).not.toBe("MAD_SIGNAL");
  });

  test("anything in the place of the latest windows or of what workers did", () => {
    fc.assert(
      fc.property(fc.anything(), policies, fc.boolean(), (junk, config, whole) => {
        const latest = whole ? junk : { ...latestOf(), work: junk };
        const decision = run(config, { latest: latest as LatestSignal });
        expect(isPlainJson(decision)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});
