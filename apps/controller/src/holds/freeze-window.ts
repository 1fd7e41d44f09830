import type { Schedule } from "@fulcrum/contracts/holds.js";
import { Cron } from "croner";
import { ProblemError } from "../http/problem-error.js";

/** One time of a freeze window, epoch ms, its end not included; Infinity: none is in sight, each comes before the one before is over. */
export interface Span {
  readonly fromMs: number;
  readonly untilMs: number;
}

interface Starts {
  /** The last start at or before any instant from here up to `nextMs`; null: there was none. */
  readonly lastMs: number | null;
  readonly nextMs: number | null;
  readonly knownFromMs: number;
}

/** Schedules whose starts are remembered; reckoning one takes some 0.3 ms, and it is asked with every decision. */
const MAX_REMEMBERED = 1_000;
const remembered = new Map<string, Starts>();

/**
 * Times that follow each other without a gap are one. So many are looked at for its end, each some 0.1 ms; where that is not
 * the end none is told (docs/operations.md).
 */
export const MOST_WITHOUT_GAP = 500;

interface End {
  readonly fromMs: number;
  /** For any start from `fromMs` to here the end is this. */
  readonly knownToMs: number;
  readonly untilMs: number;
}

const rememberedEnds = new Map<string, End>();

/** The present time of the window, since it last began, else the coming one; null: none will come. */
export function spanOf(schedule: Schedule, nowMs: number): Span | null {
  const { lastMs, nextMs } = startsAround(schedule, nowMs);
  const fromMs = lastMs !== null && nowMs < lastMs + schedule.durationMs ? lastMs : nextMs;
  return fromMs === null ? null : { fromMs, untilMs: endOf(schedule, fromMs) };
}

/** When the window that holds now ends, as a span does; null: it does not hold now. */
export function heldUntil(schedule: Schedule, nowMs: number): number | null {
  const span = spanOf(schedule, nowMs);
  return span !== null && span.fromMs <= nowMs ? span.untilMs : null;
}

/** @throws ProblemError naming the field, what is wrong with it and how it may look */
export function checkSchedule({ cron, timeZone }: Pick<Schedule, "cron" | "timeZone">): void {
  try {
    Intl.DateTimeFormat("en", { timeZone });
  } catch {
    throw refused("timeZone", "must be an IANA time zone, such as Europe/Berlin or UTC");
  }
  let next: Date | null;
  try {
    next = cronOf({ cron, timeZone }).nextRun();
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/^CronPattern: /, "") : String(error);
    throw refused(
      "cron",
      `${why}; it takes five fields, such as 0 22 * * 1-5 for 22:00 from Monday to Friday`,
    );
  }
  if (next === null) throw refused("cron", "never comes: is there such a day in that month?");
}

function startsAround(schedule: Schedule, nowMs: number): Starts {
  const key = `${schedule.timeZone} ${schedule.cron}`;
  const known = remembered.get(key);
  if (known && nowMs >= known.knownFromMs && (known.nextMs === null || nowMs < known.nextMs)) return known;
  const cron = cronOf(schedule);
  const [last] = cron.previousRuns(1, new Date(nowMs + 1));
  const next = cron.nextRun(new Date(nowMs));
  const lastMs = last?.getTime() ?? null;
  const starts = { lastMs, nextMs: next?.getTime() ?? null, knownFromMs: lastMs ?? nowMs };
  if (remembered.size >= MAX_REMEMBERED) remembered.clear();
  remembered.set(key, starts);
  return starts;
}

/** When the time that begins at `fromMs` ends, with all that begin before it does or as it does. */
function endOf(schedule: Schedule, fromMs: number): number {
  const key = `${schedule.timeZone} ${schedule.cron} ${schedule.durationMs}`;
  const known = rememberedEnds.get(key);
  if (known && fromMs >= known.fromMs && fromMs < known.knownToMs) return known.untilMs;
  const end = endAhead(schedule, fromMs);
  if (rememberedEnds.size >= MAX_REMEMBERED) rememberedEnds.clear();
  rememberedEnds.set(key, end);
  return end.untilMs;
}

function endAhead(schedule: Schedule, fromMs: number): End {
  const cron = cronOf(schedule);
  let untilMs = fromMs + schedule.durationMs;
  for (let looked = 0; looked < MOST_WITHOUT_GAP; looked += 1) {
    const last =
      cron
        .previousRuns(1, new Date(untilMs + 1))
        .at(0)
        ?.getTime() ?? fromMs;
    if (last + schedule.durationMs <= untilMs) return { fromMs, knownToMs: untilMs, untilMs };
    untilMs = last + schedule.durationMs;
  }
  // Half of what was looked ahead on, it is looked again: an end may have come in sight.
  return { fromMs, knownToMs: (fromMs + untilMs) / 2, untilMs: Number.POSITIVE_INFINITY };
}

export function cronOf({ cron, timeZone }: Pick<Schedule, "cron" | "timeZone">): Cron {
  return new Cron(cron, { mode: "5-part", timezone: timeZone, paused: true });
}

function refused(field: string, message: string): ProblemError {
  return new ProblemError("invalid_request", `${field}: ${message}`, [{ field, message }]);
}
