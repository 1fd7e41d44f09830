/** Whether a window can be believed at all: checked once at the wire, and again before windows are folded. */
import type { Window } from "../nouns.js";
import {
  HUGE,
  LAST_INSTANT_MS,
  describeFault,
  firstFault,
  gaugeFault,
  rangeFault,
  wholeFault,
} from "./fault.js";
import type { Fault } from "./fault.js";
import { classesFault } from "./classes.js";
import { histogramFault } from "./histogram.js";

/** The field of a window that cannot be true, and the bound it breaks. */
export type WindowFault = Fault;

/** Over less than this a count makes no rate: a few requests would read as millions a second. */
export const MIN_WINDOW_MS = 1;

/** Longest window, of wall clock and of engine time. */
export const MAX_WINDOW_MS = 3_600_000;

/** A window may end this far in the future: clocks of nodes under NTP differ by less than a second. */
export const MAX_CLOCK_AHEAD_MS = 5_000;

/** A worker's busy share may pass 1 by this much: the engine's clock and the agent's do not tick together. */
export const MAX_BUSY_SHARE = 1.05;

/** Null when the window can be believed. The shape must have been checked before (all fields present). */
export function checkWindow(window: Window, nowMs: number): WindowFault | null {
  return (
    timesFault(window, nowMs) ??
    countsFault(window) ??
    histogramFault("ttft", window.ttft) ??
    histogramFault("tpot", window.tpot) ??
    classesFault("classes", window.classes, window) ??
    gaugesFault(window)
  );
}

/** `window 17: arrivals is -3, must be a whole number from 0 to 1000000000000`. */
export function describeWindowFault(seq: number, fault: WindowFault): string {
  return `window ${seq}: ${describeFault(fault)}`;
}

function timesFault(window: Window, nowMs: number): Fault | null {
  const fault = firstFault(
    wholeFault("seq", window.seq, 0, Number.MAX_SAFE_INTEGER),
    rangeFault("startAtMs", window.startAtMs, 0, LAST_INSTANT_MS),
    rangeFault("endAtMs", window.endAtMs, 0, LAST_INSTANT_MS),
    rangeFault("durationMs", window.durationMs, MIN_WINDOW_MS, MAX_WINDOW_MS),
    window.generation === null
      ? null
      : wholeFault("generation", window.generation, 0, Number.MAX_SAFE_INTEGER),
  );
  if (fault !== null) return fault;
  if (window.endAtMs <= window.startAtMs) {
    return { field: "endAtMs", bound: `later than startAtMs ${window.startAtMs}`, value: window.endAtMs };
  }
  if (window.endAtMs - window.startAtMs > MAX_WINDOW_MS) {
    return {
      field: "endAtMs",
      bound: `at most ${MAX_WINDOW_MS} ms after startAtMs ${window.startAtMs}`,
      value: window.endAtMs,
    };
  }
  if (!(window.endAtMs <= nowMs + MAX_CLOCK_AHEAD_MS)) {
    return {
      field: "endAtMs",
      bound: `at most ${MAX_CLOCK_AHEAD_MS} ms ahead of the controller's clock`,
      value: window.endAtMs,
    };
  }
  return null;
}

function countsFault(window: Window): Fault | null {
  return firstFault(
    wholeFault("arrivals", window.arrivals, 0, HUGE),
    wholeFault("promptTokens", window.promptTokens, 0, HUGE),
    wholeFault("finished", window.finished, 0, HUGE),
    wholeFault("outputTokens", window.outputTokens, 0, HUGE),
  );
}

function gaugesFault(window: Window): Fault | null {
  const { queue, kv, busy } = window;
  const fault = firstFault(
    gaugeFault("queue.prefillWaiting", queue.prefillWaiting, 0, HUGE),
    gaugeFault("queue.decodeRunning", queue.decodeRunning, 0, HUGE),
    gaugeFault("kv.totalTokens", kv.totalTokens, 0, HUGE),
    gaugeFault("kv.usedTokens", kv.usedTokens, 0, HUGE),
    gaugeFault("kv.preemptions", kv.preemptions, 0, HUGE),
    gaugeFault("busy.prefillShare", busy.prefillShare, 0, MAX_BUSY_SHARE),
    gaugeFault("busy.decodeShare", busy.decodeShare, 0, MAX_BUSY_SHARE),
  );
  if (fault !== null) return fault;
  if (kv.usedTokens !== null && kv.totalTokens !== null && kv.usedTokens > kv.totalTokens) {
    return {
      field: "kv.usedTokens",
      bound: `at most kv.totalTokens ${kv.totalTokens}`,
      value: kv.usedTokens,
    };
  }
  return null;
}
