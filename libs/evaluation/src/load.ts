import type { TracedRequest } from "@fulcrum/simulator/arrivals.js";
import type { SimRequest } from "@fulcrum/simulator/job.js";
import { createRandom } from "@fulcrum/simulator/random.js";
import { gapOf } from "./gamma.js";
import { drawFrom, type LengthSource } from "./lengths.js";

/** Requests of one kind at a rate that moves in a straight line over the phase. */
export interface Stream {
  readonly kind: string;
  readonly fromPerS: number;
  readonly toPerS: number;
  /** Coefficient of variation of the gaps: 1 is Poisson. */
  readonly cv: number;
}

/** So many requests at random instants of a short time. */
export interface Burst {
  readonly kind: string;
  readonly atMs: number;
  readonly overMs: number;
  readonly requests: number;
}

/** A phase without streams and bursts is a silence. */
export interface LoadPhase {
  readonly name: string;
  readonly durationMs: number;
  readonly streams: readonly Stream[];
  /** Times count from the start of the phase. */
  readonly bursts: readonly Burst[];
}

export type LengthSources = Readonly<Record<string, LengthSource>>;

/**
 * The requests of phases joined end to end, in order of arrival, ids from 0. One seed draws the same gaps and the
 * same lengths at every rate, so that contenders and rates are compared on the same requests.
 */
export function requestsOf(
  phases: readonly LoadPhase[],
  sources: LengthSources,
  seed: number,
): readonly SimRequest[] {
  const found: SimRequest[] = [];
  let startMs = 0;
  for (const [index, phase] of phases.entries()) {
    const parts = [...phase.streams.map(streamTimes), ...phase.bursts.map(burstTimes)];
    for (const [place, part] of parts.entries()) {
      const source = sources[part.kind];
      if (source === undefined) throw new RangeError(`there is no length set ${part.kind}`);
      // Two random sequences for each part: up to 50 parts in a phase stay apart.
      const base = 2 * (50 * index + place);
      const lengths = createRandom(seed, base + 1);
      for (const atMs of part.times(createRandom(seed, base), phase.durationMs)) {
        const { promptTokens, outputTokens } = drawFrom(source, lengths);
        found.push({ id: 0, arrivalMs: startMs + atMs, promptTokens, outputTokens });
      }
    }
    startMs += phase.durationMs;
  }
  found.sort((a, b) => a.arrivalMs - b.arrivalMs);
  return found.map((request, id) => ({ ...request, id }));
}

type Times = (random: ReturnType<typeof createRandom>, durationMs: number) => Iterable<number>;

interface Part {
  readonly kind: string;
  readonly times: Times;
}

function streamTimes(stream: Stream): Part {
  const { kind, fromPerS, toPerS, cv } = stream;
  return {
    kind,
    *times(random, durationMs) {
      const total = expectedBy(fromPerS, toPerS, durationMs, durationMs);
      for (let count = gapOf(random, cv); count < total; count += gapOf(random, cv)) {
        yield whenExpected(fromPerS, toPerS, durationMs, count);
      }
    },
  };
}

function burstTimes({ kind, atMs, overMs, requests }: Burst): Part {
  return {
    kind,
    times: (random) => Array.from({ length: requests }, () => atMs + overMs * random.uniform()),
  };
}

/** Requests expected by `tMs` of a phase whose rate goes from one value to the other. */
function expectedBy(fromPerS: number, toPerS: number, durationMs: number, tMs: number): number {
  return (fromPerS * tMs + ((toPerS - fromPerS) * tMs * tMs) / (2 * durationMs)) / 1000;
}

/** The inverse of expectedBy: arrivals that are regular in expected counts follow the rate. */
function whenExpected(fromPerS: number, toPerS: number, durationMs: number, count: number): number {
  const slope = (toPerS - fromPerS) / durationMs;
  if (slope === 0) return (1000 * count) / fromPerS;
  // slope/2 t^2 + from t - 1000 count = 0; this form of the root loses no digits as the slope nears 0.
  return (2000 * count) / (fromPerS + Math.sqrt(Math.max(0, fromPerS ** 2 + 2000 * slope * count)));
}

export interface Cut {
  /** 0..1: where in the trace the cut begins; it goes on at the trace's start. */
  readonly from: number;
  readonly durationMs: number;
  readonly ratePerS: number;
}

/**
 * A stretch of a recorded trace, its time stretched so that the requests of the cut come at `ratePerS` on average:
 * order, clumps and joined lengths are the trace's own.
 */
export function cutOf(trace: readonly TracedRequest[], cut: Cut): readonly SimRequest[] {
  const wanted = Math.max(1, Math.round((cut.durationMs / 1000) * cut.ratePerS));
  const first = Math.floor(cut.from * trace.length) % trace.length;
  const spanMs = trace.at(-1)?.atMs ?? 0;
  const lapMs = spanMs * (1 + 1 / Math.max(1, trace.length - 1));
  const at = (index: number): number => {
    const lap = Math.floor(index / trace.length);
    return lap * lapMs + (trace[index % trace.length]?.atMs ?? 0);
  };
  const firstMs = at(first);
  const scale = cut.durationMs / Math.max(1, at(first + wanted) - firstMs);
  return Array.from({ length: wanted }, (_, id) => {
    const row = trace[(first + id) % trace.length];
    const { promptTokens = 1, outputTokens = 1 } = row ?? {};
    return { id, arrivalMs: (at(first + id) - firstMs) * scale, promptTokens, outputTokens };
  });
}
