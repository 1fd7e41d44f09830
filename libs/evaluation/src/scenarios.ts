import type { SloTarget } from "@fulcrum/core/nouns.js";
import type { Burst, LoadPhase, Stream } from "./load.js";

/** A kind of requests: prompt and answer lengths that belong together. */
export const KINDS = [
  "chat",
  "documents",
  "documents-2040",
  "documents-4000",
  "conversation",
  "long-answers",
  "mooncake",
] as const;

export type Kind = (typeof KINDS)[number];

/** A load that contenders are put under, at any stress: `fraction` of r_max (see timeSharedRatePerS). */
export interface Scenario {
  readonly name: string;
  /** What it is, in a few words. */
  readonly title: string;
  readonly slo: SloTarget;
  /** One kind at one rate throughout. */
  readonly steady: boolean;
  /** Every kind that comes. */
  readonly kinds: readonly Kind[];
  readonly durationMs: number;
  readonly load: (fraction: number, maxPerS: (kind: Kind) => number) => readonly LoadPhase[];
  /** Where a recorded trace of this kind is at hand, it is replayed (time-stretched) in place of `load`. */
  readonly replays?: Kind;
}

/** Share of requests that an operator promises, and the percentile of both bounds. */
const PROMISED = 0.9;

function slo(ttftMs: number, tpotMs: number): SloTarget {
  return {
    ttft: { percentile: PROMISED, boundMs: ttftMs },
    tpot: { percentile: PROMISED, boundMs: tpotMs },
    attainmentShare: PROMISED,
  };
}

/** semi-PD Table 2, Llama3-8B: tight is about 7.5 times the latency of a single request, loose 10 times. */
const CHAT_TIGHT = slo(300, 150);
const CHAT_LOOSE = slo(400, 200);
const DOCUMENTS_TIGHT = slo(2250, 130);
const DOCUMENTS_LOOSE = slo(3000, 180);
/** Own: no paper gives bounds for these. Ten single requests' TTFT and four single requests' TPOT. */
const CONVERSATION = slo(1000, 80);
/** Own: chat's TTFT, and a TPOT of three single requests, so that long answers are what is hard. */
const LONG_ANSWERS = slo(300, 60);
/** Own: kinds that change share one SLO; long prompts must be able to meet it. */
const CHANGING = slo(1500, 110);
const CHANGING_LOOSER = slo(2250, 130);

const MINUTE_MS = 60_000;
const STEADY_MS = 5 * MINUTE_MS;

export const SCENARIOS: readonly Scenario[] = [
  steady("chat-tight", "chat, tight SLO", "chat", CHAT_TIGHT),
  steady("chat-loose", "chat, loose SLO", "chat", CHAT_LOOSE),
  steady("chat-clumped", "chat, tight SLO, Gamma arrivals (CV 2)", "chat", CHAT_TIGHT, 2),
  steady("documents-tight", "documents cut at 3,200 tokens, tight SLO", "documents", DOCUMENTS_TIGHT),
  steady("documents-loose", "documents cut at 3,200 tokens, loose SLO", "documents", DOCUMENTS_LOOSE),
  steady("documents-2040", "documents cut at 2,040 tokens, tight SLO", "documents-2040", DOCUMENTS_TIGHT),
  steady("documents-4000", "documents cut at 4,000 tokens, tight SLO", "documents-4000", DOCUMENTS_TIGHT),
  { ...steady("conversation", "conversation", "conversation", CONVERSATION), replays: "conversation" },
  steady("long-answers", "short prompts, long answers", "long-answers", LONG_ANSWERS),
  {
    ...steady("mooncake", "Mooncake's trace, cut at the context", "mooncake", slo(6000, 150)),
    replays: "mooncake",
  },
  changing("changing-kinds", "chat, documents, long answers: five minutes each", CHANGING, [
    ["chat", 0.87, 5],
    ["documents", 0.76, 5],
    ["long-answers", 0.9, 5],
  ]),
  changing(
    "changing-often",
    "long answers, documents, chat, documents: three minutes each",
    CHANGING_LOOSER,
    [
      ["long-answers", 0.95, 3],
      ["documents", 0.79, 3],
      ["chat", 0.93, 3],
      ["documents", 0.79, 3],
    ],
  ),
  changing("load-step", "documents: rate 0.4, 0.8, 0.4 of capacity", DOCUMENTS_TIGHT, [
    ["documents", 0.4, 3],
    ["documents", 0.8, 4],
    ["documents", 0.4, 3],
  ]),
  {
    ...steady("drift", "chat: from 0.5 to 1.0 of capacity in ten minutes", "chat", CHAT_TIGHT),
    steady: false,
    durationMs: 10 * MINUTE_MS,
    load: (fraction, maxPerS) => [
      phase("drift", 10, [stream("chat", 0.5 * fraction * maxPerS("chat"), fraction * maxPerS("chat"))]),
    ],
  },
  {
    ...steady(
      "bursts",
      "chat at 0.6 of capacity, and 60 requests within a second every minute",
      "chat",
      CHAT_TIGHT,
    ),
    steady: false,
    load: (fraction, maxPerS) => [
      phase("bursts", 5, [stream("chat", 0.6 * fraction * maxPerS("chat"))], burstsEvery(60, 5)),
    ],
  },
  {
    ...changing("silences", "chat, silence, documents, silence, long answers", CHANGING, []),
    kinds: ["chat", "documents", "long-answers"],
    durationMs: 3 * 2 * MINUTE_MS + 2 * 200_000,
    load: (fraction, maxPerS) => {
      const part = (kind: Kind, share: number) =>
        phase(kind, 2, [stream(kind, share * fraction * maxPerS(kind))]);
      const silence = { name: "silence", durationMs: 200_000, streams: [], bursts: [] };
      return [part("chat", 0.87), silence, part("documents", 0.76), silence, part("long-answers", 0.9)];
    },
  },
];

/** Throws RangeError on a name that is not in the catalogue. */
export function scenarioOf(name: string): Scenario {
  const found = SCENARIOS.find((scenario) => scenario.name === name);
  if (found === undefined) throw new RangeError(`there is no workload ${name}`);
  return found;
}

function steady(name: string, title: string, kind: Kind, bounds: SloTarget, cv = 1): Scenario {
  return {
    name,
    title,
    slo: bounds,
    steady: true,
    kinds: [kind],
    durationMs: STEADY_MS,
    load: (fraction, maxPerS) => {
      const ratePerS = fraction * maxPerS(kind);
      return [phase(kind, STEADY_MS / MINUTE_MS, [stream(kind, ratePerS, ratePerS, cv)])];
    },
  };
}

type Part = readonly [kind: Kind, share: number, minutes: number];

function changing(name: string, title: string, bounds: SloTarget, parts: readonly Part[]): Scenario {
  return {
    name,
    title,
    slo: bounds,
    steady: false,
    kinds: [...new Set(parts.map(([kind]) => kind))],
    durationMs: parts.reduce((sum, [, , minutes]) => sum + minutes * MINUTE_MS, 0),
    load: (fraction, maxPerS) =>
      parts.map(([kind, share, minutes]) =>
        phase(kind, minutes, [stream(kind, share * fraction * maxPerS(kind))]),
      ),
  };
}

function stream(kind: Kind, fromPerS: number, toPerS = fromPerS, cv = 1): Stream {
  return { kind, fromPerS, toPerS, cv };
}

function phase(
  name: string,
  minutes: number,
  streams: readonly Stream[],
  bursts: readonly Burst[] = [],
): LoadPhase {
  return { name, durationMs: minutes * MINUTE_MS, streams, bursts };
}

function burstsEvery(seconds: number, minutes: number): readonly Burst[] {
  const count = Math.floor((minutes * 60) / seconds) - 1;
  return Array.from({ length: count }, (_, i) => ({
    kind: "chat",
    atMs: (i + 1) * seconds * 1000,
    overMs: 1000,
    requests: 60,
  }));
}
