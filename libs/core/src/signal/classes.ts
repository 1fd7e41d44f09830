/** Requests by class: what windows told of them, folded, and held against the promises of an SLO. */
import type { ObservedClass, Signal } from "../decision.js";
import type { Histogram, SloPromise, SloTarget, Window, WindowClass } from "../nouns.js";
import { MAX_WINDOW_CLASSES } from "../nouns.js";
import { HUGE, firstFault, isRecord, rangeFault, shapeFault, wholeFault } from "./fault.js";
import type { Fault } from "./fault.js";
import { addHistograms, histogramFault, okShare, sameBounds, subtractHistograms } from "./histogram.js";

/** An SLO's own promise, with the name null, and those of its classes, in the order in which they are kept. */
export interface NamedPromise extends SloPromise {
  readonly name: string | null;
}

/** One alone where the SLO has no classes. */
export function promisesOf(slo: SloTarget): readonly NamedPromise[] {
  const { ttft, tpot, attainmentShare, classes = [] } = slo;
  return [{ name: null, ttft, tpot, attainmentShare }, ...classes];
}

export function hasClasses(slo: SloTarget): boolean {
  return (slo.classes?.length ?? 0) > 0;
}

/** The windows' classes added up by name; nothing where none tells classes. Windows have the same bounds. */
export function foldClasses(windows: readonly Window[]): Pick<Signal, "classes"> {
  if (windows.every(({ classes }) => classes === undefined)) return {};
  const found = new Map<string, WindowClass>();
  for (const each of windows.flatMap(({ classes }) => classes ?? [])) {
    const before = found.get(each.name);
    if (before !== undefined) found.set(each.name, added(before, each));
    else if (found.size < MAX_WINDOW_CLASSES) found.set(each.name, each);
  }
  return { classes: [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

function added(a: WindowClass, b: WindowClass): WindowClass {
  return {
    name: a.name,
    arrivals: a.arrivals + b.arrivals,
    promptTokens: a.promptTokens + b.promptTokens,
    promptTokensSq: a.promptTokensSq + b.promptTokensSq,
    ttft: addHistograms(a.ttft, b.ttft),
    tpot: addHistograms(a.tpot, b.tpot),
  };
}

/** What is wrong with the classes of a window or signal; `bounds`: its own histograms, where it has them. */
export function classesFault(
  field: string,
  value: unknown,
  bounds: { readonly ttft: Histogram | null; readonly tpot: Histogram | null },
): Fault | null {
  if (value === undefined) return null;
  if (!Array.isArray(value) || value.length > MAX_WINDOW_CLASSES) {
    return shapeFault(field, `a list of at most ${MAX_WINDOW_CLASSES} classes`);
  }
  const names = new Set<string>();
  for (const [i, each] of (value as unknown[]).entries()) {
    const at = `${field}[${i}]`;
    if (!isRecord(each) || typeof each.name !== "string" || names.has(each.name)) {
      return shapeFault(at, "a class with a name of its own");
    }
    names.add(each.name);
    const fault = firstFault(
      wholeFault(`${at}.arrivals`, each.arrivals, 0, HUGE),
      wholeFault(`${at}.promptTokens`, each.promptTokens, 0, HUGE),
      rangeFault(`${at}.promptTokensSq`, each.promptTokensSq, 0, MOST_SQUARES),
      histogramFault(`${at}.ttft`, each.ttft),
      histogramFault(`${at}.tpot`, each.tpot),
    );
    if (fault !== null) return fault;
    const { ttft, tpot } = each as unknown as WindowClass;
    if (bounds.ttft === null || !sameBounds(ttft, bounds.ttft)) return shapeFault(`${at}.ttft`, OWN_BOUNDS);
    if (bounds.tpot === null || !sameBounds(tpot, bounds.tpot)) return shapeFault(`${at}.tpot`, OWN_BOUNDS);
  }
  return null;
}

/** A million prompts of a million tokens each, squared. */
const MOST_SQUARES = 1e18;
const OWN_BOUNDS = "a histogram with the bounds of the window's own";

/** What was seen of each promise; nothing where the SLO has no classes. The signal must have passed signalFault. */
export function observedClasses(
  signal: Signal,
  slo: SloTarget,
): { readonly classes?: readonly ObservedClass[] } {
  if (!hasClasses(slo)) return {};
  const classes = promisesOf(slo).map((promise): ObservedClass => {
    const own = ownHistograms(signal, slo, promise.name);
    const { ttft, tpot } = own ?? signal;
    return {
      name: promise.name,
      ttftOkShare: (ttft && okShare(ttft, promise.ttft.boundMs)?.share) ?? null,
      tpotOkShare: (tpot && okShare(tpot, promise.tpot.boundMs)?.share) ?? null,
      own: own !== null,
    };
  });
  return { classes };
}

/**
 * Null where no class is told. The SLO's own requests are those of no class that it names; a class that is told of no
 * request has empty histograms.
 */
function ownHistograms(
  signal: Signal,
  slo: SloTarget,
  name: string | null,
): { readonly ttft: Histogram | null; readonly tpot: Histogram | null } | null {
  const { classes, ttft, tpot } = signal;
  if (classes === undefined) return null;
  if (name !== null) return classes.find((each) => each.name === name) ?? { ttft: null, tpot: null };
  const named = new Set(slo.classes?.map((each) => each.name));
  const others = classes.filter((each) => named.has(each.name));
  const less = (all: Histogram | null, pick: (each: WindowClass) => Histogram) =>
    all &&
    others.map(pick).reduce((rest: Histogram | null, each) => rest && subtractHistograms(rest, each), all);
  return { ttft: less(ttft, (each) => each.ttft), tpot: less(tpot, (each) => each.tpot) };
}
