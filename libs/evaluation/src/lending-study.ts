import { DEFAULT_LENDING } from "@fulcrum/core/policy/kv-lending.js";
import type { Profile } from "@fulcrum/simulator/profile.js";
import { runLendingLane, type LendingMember, type Sharing } from "./lending-lane.js";
import { scenarioOf, type Kind, type Scenario } from "./scenarios.js";
import type { World } from "./world.js";

/** One instance of a case: the parts of its busy rate that it gets, phase after phase. */
interface Load {
  readonly kind: Kind;
  /** Of what the instance sustains with its part of the GPU, by phase. */
  readonly fractions: readonly number[];
  /** Default: a Llama-3-8B's. */
  readonly kvBytesPerToken?: number;
}

export interface LendingCase {
  readonly name: string;
  readonly title: string;
  /** KV memory of the device, in tokens of a Llama-3-8B. */
  readonly deviceTokens: number;
  readonly phaseMs: number;
  readonly loads: readonly Load[];
}

/** Llama-3-8B in bf16: 32 layers x 8 KV heads x 128 x 2 x 2 bytes. Qwen2.5-7B: 28 layers x 4 heads. */
const KV_BYTES = 131_072;
const QWEN_KV_BYTES = 57_344;

/** Prompt and answer of the longest request of each kind here, with the next block. */
const FLOOR_TOKENS: Readonly<Partial<Record<Kind, number>>> = { chat: 4_112, "long-answers": 4_112 };
const LONGEST_TOKENS = 8_208;

const BOUNDS: Readonly<Partial<Record<Kind, string>>> = {
  chat: "chat-loose",
  documents: "documents-loose",
  "long-answers": "chat-loose",
};

const BUSY = 0.75;
const QUIET = 0.1;
const TURNS = [BUSY, QUIET, BUSY, QUIET];
const OTHER_TURNS = [QUIET, BUSY, QUIET, BUSY];

function caseOf(
  name: string,
  title: string,
  deviceTokens: number,
  loads: readonly Load[],
  phaseMs = 60_000,
): LendingCase {
  return { name, title, deviceTokens, phaseMs, loads };
}

const chatTurns: readonly Load[] = [
  { kind: "chat", fractions: TURNS },
  { kind: "chat", fractions: OTHER_TURNS },
];

export const LENDING_CASES: readonly LendingCase[] = [
  caseOf("turns, 300k", "two chats, busy in turns of 60 s", 300_000, chatTurns),
  caseOf("turns, 112k", "two chats, busy in turns of 60 s", 112_000, chatTurns),
  caseOf("turns, 80k", "two chats, busy in turns of 60 s", 80_000, chatTurns),
  caseOf("turns, 64k", "two chats, busy in turns of 60 s", 64_000, chatTurns),
  caseOf("turns, 48k", "two chats, busy in turns of 60 s", 48_000, chatTurns),
  caseOf("fast turns", "two chats, busy in turns of 20 s", 64_000, chatTurns, 20_000),
  caseOf("three in turns", "three chats, one busy at a time", 80_000, [
    { kind: "chat", fractions: [BUSY, QUIET, QUIET] },
    { kind: "chat", fractions: [QUIET, BUSY, QUIET] },
    { kind: "chat", fractions: [QUIET, QUIET, BUSY] },
  ]),
  caseOf("documents and chat", "documents and chat, busy in turns of 60 s", 80_000, [
    { kind: "documents", fractions: TURNS },
    { kind: "chat", fractions: OTHER_TURNS },
  ]),
  caseOf("two models", "two chats, one with the KV size of Qwen2.5-7B, busy in turns of 60 s", 64_000, [
    { kind: "chat", fractions: TURNS },
    { kind: "chat", fractions: OTHER_TURNS, kvBytesPerToken: QWEN_KV_BYTES },
  ]),
  caseOf("one busier", "two chats at 0.75 and 0.3 throughout", 112_000, [
    { kind: "chat", fractions: [BUSY, BUSY] },
    { kind: "chat", fractions: [0.3, 0.3] },
  ]),
  caseOf("both busy", "two chats at 0.75 throughout", 80_000, [
    { kind: "chat", fractions: [BUSY, BUSY] },
    { kind: "chat", fractions: [BUSY, BUSY] },
  ]),
];

/** What a case came to under one way of sharing. */
export interface LendingFigures {
  readonly requests: number;
  /** Share of all members' requests within both bounds. */
  readonly attained: number;
  readonly preemptions: number;
  /** Refused, or unfinished at the end. */
  readonly lost: number;
  readonly moves: number;
  /** Most bytes lent at any instant, of the device's. */
  readonly mostLentShare: number;
}

/** A load that turns every 20 s is followed too late at 5 s. */
const CONTROL_MS = 2_000;
const DRAIN_MS = 120_000;

export function runLendingCase(
  world: World,
  each: LendingCase,
  kind: Sharing["kind"],
  seed: number,
): LendingFigures {
  const deviceBytes = each.deviceTokens * KV_BYTES;
  const sharing: Sharing = kind === "equal" ? { kind } : { kind, params: DEFAULT_LENDING };
  const members = each.loads.map((load, place) => memberOf(world, each, load, place, seed));
  const {
    lent,
    moves,
    members: results,
  } = runLendingLane({
    deviceBytes,
    members,
    sharing,
    controlIntervalMs: CONTROL_MS,
    drainMs: DRAIN_MS,
  });
  const outcomes = results.flatMap((result) => result.outcomes);
  return {
    requests: outcomes.length,
    attained: outcomes.filter(({ ok }) => ok).length / Math.max(1, outcomes.length),
    preemptions: results.reduce((sum, { preemptions }) => sum + preemptions, 0),
    lost: outcomes.filter(({ finishedAtMs }) => finishedAtMs === null).length,
    moves,
    mostLentShare: Math.max(...lent.map(({ bytes }) => bytes)) / deviceBytes,
  };
}

function memberOf(world: World, each: LendingCase, load: Load, place: number, seed: number): LendingMember {
  const count = each.loads.length;
  const { kind, fractions, kvBytesPerToken = KV_BYTES } = load;
  const { slo } = scenarioOf(BOUNDS[kind] ?? "chat-loose");
  const scenario: Scenario = {
    name: each.name,
    title: each.title,
    slo,
    steady: false,
    kinds: [kind],
    durationMs: fractions.length * each.phaseMs,
    load: (part, maxPerS) =>
      fractions.map((fraction, i) => {
        const perS = part * fraction * maxPerS(kind);
        const streams = [{ kind, fromPerS: perS, toPerS: perS, cv: 1 }];
        return { name: `${kind} ${i}`, durationMs: each.phaseMs, streams, bursts: [] };
      }),
  };
  return {
    name: `${kind} ${place + 1}`,
    profile: partOfGpu(world.profile, count),
    kvBytesPerToken,
    floorTokens: FLOOR_TOKENS[kind] ?? LONGEST_TOKENS,
    // Members draw apart: seeds of one case never meet those of another member.
    requests: world.requests(scenario, 1 / count, 100 * place + seed),
    slo,
  };
}

/** One of `count` instances: its kernels take so many times as long, the host's work does not. */
function partOfGpu(profile: Profile, count: number): Profile {
  const slowed = (phase: Profile["prefill"]): Profile["prefill"] => {
    const [constant, perSize, perWeight] = phase.kernelMs;
    return {
      ...phase,
      // A grid is measured at the whole GPU; the fit alone is scaled.
      grid: undefined,
      kernelMs: [constant * count, perSize * count, perWeight * count],
    };
  };
  return { ...profile, prefill: slowed(profile.prefill), decode: slowed(profile.decode) };
}
