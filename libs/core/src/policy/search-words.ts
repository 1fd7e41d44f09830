/** The search policy's sentence: what is expected as it is, and what another split promises. */
import { sameSplit, tidy } from "../allocation.js";
import type { SloTarget, Split } from "../nouns.js";
import { promisesOf } from "../signal/classes.js";
import type { Prospect } from "./search-prospect.js";

export interface Weighed {
  readonly gain: number;
  readonly least: number;
  readonly watching: boolean;
  readonly slo: SloTarget;
}

export function sentence(now: Prospect, best: Prospect, weighed: Weighed): string {
  const { gain, least, watching, slo } = weighed;
  const here = `${hereWords(now, slo)} as it is`;
  if (gain <= 0 || sameSplit(now.split, best.split)) return `${here}, and no split promises more`;
  const { prefillSmPct, decodeSmPct } = best.split;
  const sooner =
    best.share - now.share < gain / 2 && best.kept.length === 0 ? ", and gets out of it sooner" : "";
  const there = `${tidy(prefillSmPct)}/${tidy(decodeSmPct)} promises ${promisedWords(best, slo)}${sooner}`;
  if (watching) return `${here}; ${there}, which is watched until staying has cost as much as a change`;
  return `${here}; ${there}, and a change must gain ${points(least)} where ${points(gain)} are to be expected`;
}

function hereWords(now: Prospect, slo: SloTarget): string {
  if (now.kept.length === 0) return `${percent(now.share)} of requests are expected within both bounds`;
  const each = promisesOf(slo).map(({ name, attainmentShare }, i) => {
    const share = percent(now.ofClasses[i]?.share ?? 0);
    return `${share} of ${percent(attainmentShare)} promised${name === null ? "" : ` for ${name}`}`;
  });
  return `${each.join(", ")} are expected within both bounds`;
}

function promisedWords(best: Prospect, slo: SloTarget): string {
  if (best.kept.length === 0) return percent(best.share);
  return promisesOf(slo)
    .map(({ name }, i) => `${percent(best.ofClasses[i]?.share ?? 0)}${name === null ? "" : ` for ${name}`}`)
    .join(", ");
}

export function points(share: number): string {
  return `${tidy(Math.round(share * 1000) / 10)} points`;
}

export function percent(share: number): string {
  return `${tidy(Math.round(share * 1000) / 10)} %`;
}

/** The greater change of both caps, points. */
export function distance(a: Split, b: Split): number {
  return Math.max(Math.abs(a.prefillSmPct - b.prefillSmPct), Math.abs(a.decodeSmPct - b.decodeSmPct));
}
