import { DEFAULT_LENDING } from "@fulcrum/core/policy/kv-lending.js";
import { describe, expect, it } from "vitest";
import { runLendingLane, type LendingLaneOptions, type LendingMember, type Sharing } from "./lending-lane.js";
import { requestsOf } from "./load.js";
import { lengths, profile, slo } from "./testing/kit.js";

const BOUNDS = slo(400, 60);
const FLOOR_TOKENS = 1_104;
const LLAMA_BYTES = 131_072;
const QWEN_BYTES = 57_344;
const LENDING: Sharing = { kind: "lending", params: DEFAULT_LENDING };
const EQUAL: Sharing = { kind: "equal" };

const BUSY_PER_S = 10;
const QUIET_PER_S = 1;

function member(
  name: string,
  ratesPerS: readonly number[],
  seed: number,
  kvBytesPerToken = LLAMA_BYTES,
): LendingMember {
  const phases = ratesPerS.map((perS) => ({
    name,
    durationMs: 40_000,
    streams: [{ kind: "chat", fromPerS: perS, toPerS: perS, cv: 1 }],
    bursts: [],
  }));
  const requests = requestsOf(phases, { chat: lengths.chat.source }, seed);
  return { name, profile, kvBytesPerToken, floorTokens: FLOOR_TOKENS, requests, slo: BOUNDS };
}

function turns(seed: number, secondBytes = LLAMA_BYTES): readonly LendingMember[] {
  return [
    member("first", [BUSY_PER_S, QUIET_PER_S, BUSY_PER_S], seed),
    member("second", [QUIET_PER_S, BUSY_PER_S, QUIET_PER_S], seed + 100, secondBytes),
  ];
}

function lane(members: readonly LendingMember[], deviceTokens: number, sharing: Sharing) {
  const options: LendingLaneOptions = {
    deviceBytes: deviceTokens * LLAMA_BYTES,
    members,
    sharing,
    controlIntervalMs: 2_000,
    drainMs: 120_000,
  };
  const result = runLendingLane(options);
  const outcomes = result.members.flatMap((each) => each.outcomes);
  return {
    ...result,
    deviceBytes: options.deviceBytes,
    attained: outcomes.filter(({ ok }) => ok).length / outcomes.length,
    unfinished: outcomes.filter(({ finishedAtMs }) => finishedAtMs === null).length,
  };
}

const SEEDS = [1, 2, 3];
/** The busy one wants more than half of it; both together fit. */
const TIGHT_TOKENS = 56_000;

describe("lending in turns, memory tight", () => {
  it.each(SEEDS)("is clearly better than equal shares: seed %i", (seed) => {
    const lent = lane(turns(seed), TIGHT_TOKENS, LENDING);
    const equal = lane(turns(seed), TIGHT_TOKENS, EQUAL);
    expect(lent.attained).toBeGreaterThan(equal.attained + 0.3);
    expect(lent.moves).toBeGreaterThan(2);
    expect(equal.moves).toBe(0);
  });

  it.each([40_000, 48_000, 96_000])(
    "is never more than half a point below equal shares, on %i tokens",
    (deviceTokens) => {
      for (const seed of SEEDS) {
        const lent = lane(turns(seed), deviceTokens, LENDING);
        const equal = lane(turns(seed), deviceTokens, EQUAL);
        expect(lent.attained).toBeGreaterThanOrEqual(equal.attained - 0.005);
      }
    },
  );
});

describe("the device", () => {
  it.each([
    { name: "two of one model", members: turns(4) },
    { name: "two models", members: turns(5, QWEN_BYTES) },
    {
      name: "three",
      members: [
        member("a", [BUSY_PER_S, QUIET_PER_S, QUIET_PER_S], 6),
        member("b", [QUIET_PER_S, BUSY_PER_S, QUIET_PER_S], 7),
        member("c", [QUIET_PER_S, QUIET_PER_S, BUSY_PER_S], 8),
      ],
    },
  ])("never lends more than it has, keeps every floor and loses no request: $name", ({ members }) => {
    const result = lane(members, TIGHT_TOKENS, LENDING);
    expect(result.moves).toBeGreaterThan(0);
    for (const { bytes, tokens } of result.lent) {
      expect(bytes).toBeLessThanOrEqual(result.deviceBytes);
      for (const each of tokens) expect(each).toBeGreaterThanOrEqual(FLOOR_TOKENS - profile.kvBlockTokens);
    }
    expect(result.members.map(({ refused }) => refused)).toEqual(members.map(() => 0));
    expect(result.unfinished).toBe(0);
    expect(result.members.map(({ outcomes }) => outcomes.length)).toEqual(
      members.map(({ requests }) => requests.length),
    );
  });

  it("gives one that lent its share away its half back when its own load comes", () => {
    const { lent } = lane(turns(1), TIGHT_TOKENS, LENDING);
    const leastShare = (fromMs: number, toMs: number, which: number) =>
      Math.min(
        ...lent.filter(({ atMs }) => atMs > fromMs && atMs <= toMs).map(({ tokens }) => tokens[which] ?? 0),
      );
    // In the first phase the second lends; half a phase after its own load has come it has half at least.
    expect(leastShare(0, 40_000, 1)).toBeLessThan(0.4 * TIGHT_TOKENS);
    expect(leastShare(60_000, 80_000, 1)).toBeGreaterThanOrEqual(0.5 * TIGHT_TOKENS - profile.kvBlockTokens);
  });
});

it("the same members give the same lane", () => {
  expect(lane(turns(9), TIGHT_TOKENS, LENDING)).toEqual(lane(turns(9), TIGHT_TOKENS, LENDING));
});

it("serves as before where memory is ample", () => {
  const lent = lane(turns(3), 400_000, LENDING);
  expect(lent.members).toEqual(lane(turns(3), 400_000, EQUAL).members);
});

it("refuses equal shares below a floor", () => {
  expect(() => lane(turns(1), 2_000, LENDING)).toThrow(
    /first has 992 tokens of an equal share and needs 1104/,
  );
});
