import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ProgressSample, progressVerdict } from "./progress.js";
import { ProgressWatch } from "./progress-watch.js";

const LIMIT = 10_000;
/** One sample a second: [running, tokens]. */
const seconds = (...rows: readonly (readonly [number | null, number | null])[]): ProgressSample[] =>
  rows.map(([running, outputTokens], i) => ({ atMs: i * 1_000, running, outputTokens }));
const repeat = (times: number, row: readonly [number | null, number | null]) =>
  Array.from({ length: times }, () => row);

describe("an engine's progress", () => {
  test.each<[string, ProgressSample[], string]>([
    ["nothing was ever read", [], "unknown"],
    ["one scrape says nothing yet", seconds([3, 100]), "progress"],
    ["tokens come", seconds([3, 100], [3, 110], [3, 120]), "progress"],
    ["nothing runs", seconds(...repeat(20, [0, 100])), "idle"],
    ["it runs and nothing comes, not yet long enough", seconds(...repeat(10, [3, 100])), "progress"],
    ["it runs and nothing comes for the limit", seconds(...repeat(11, [3, 100])), "no_progress"],
    ["it was idle until a moment ago", seconds(...repeat(15, [0, 100]), ...repeat(5, [3, 100])), "progress"],
    ["one token came within", seconds(...repeat(8, [3, 100]), ...repeat(8, [3, 101])), "progress"],
    [
      "a restart in between counts as a beginning",
      seconds(...repeat(8, [3, 100]), ...repeat(8, [3, 0])),
      "progress",
    ],
    [
      "a moment without requests within",
      seconds(...repeat(8, [3, 100]), [0, 100], ...repeat(8, [3, 100])),
      "progress",
    ],
    ["the engine tells no running requests", seconds(...repeat(20, [null, 100])), "unknown"],
    ["the engine tells no tokens", seconds(...repeat(20, [3, null])), "unknown"],
  ])("%s", (_what, history, kind) => {
    expect(progressVerdict(history, history.at(-1)?.atMs ?? 0, LIMIT).kind).toBe(kind);
  });

  test("since when it stalls is told", () => {
    const history = seconds([3, 50], ...repeat(15, [3, 100]));
    expect(progressVerdict(history, 15_000, LIMIT)).toEqual({
      kind: "no_progress",
      sinceMs: 1_000,
      stalledMs: 14_000,
    });
  });

  test("scrapes that stopped are no deadlock", () => {
    const history = seconds(...repeat(20, [3, 100]));
    expect(progressVerdict(history, 19_000 + LIMIT, LIMIT).kind).toBe("no_progress");
    expect(progressVerdict(history, 19_001 + LIMIT, LIMIT).kind).toBe("unknown");
  });

  test("before a switch does not count when the switch is asked about", () => {
    const history = seconds(...repeat(20, [3, 100]));
    const sinceSwitch = history.filter(({ atMs }) => atMs >= 15_000);
    expect(progressVerdict(sinceSwitch, 19_000, LIMIT).kind).toBe("progress");
  });
});

const steps = fc.array(
  fc.record({
    afterMs: fc.integer({ min: 1, max: 2_000 }),
    running: fc.constantFrom(0, 1, 5, null),
    tokens: fc.constantFrom(0, 0, 0, 7),
  }),
  { maxLength: 200 },
);

describe("the watch", () => {
  test("judges as the rule does over everything, with a bounded history", () => {
    fc.assert(
      fc.property(steps, (taken) => {
        const watch = new ProgressWatch(LIMIT);
        const all: ProgressSample[] = [];
        let atMs = 0;
        let outputTokens = 0;
        for (const { afterMs, running, tokens } of taken) {
          atMs += afterMs;
          outputTokens += tokens;
          all.push({ atMs, running, outputTokens });
          watch.note({ atMs, running, outputTokens });
          expect(watch.verdict(atMs).kind).toBe(progressVerdict(all, atMs, LIMIT).kind);
        }
        expect(watch.history.length).toBeLessThanOrEqual(all.length);
      }),
    );
  });

  test("keeps few of many samples of one stall", () => {
    const watch = new ProgressWatch(LIMIT);
    for (let atMs = 0; atMs < 100_000; atMs += 10) watch.note({ atMs, running: 2, outputTokens: 5 });
    expect(watch.history.length).toBeLessThan(250);
    expect(watch.verdict(99_990).kind).toBe("no_progress");
    watch.restart();
    expect(watch.verdict(99_990).kind).toBe("unknown");
  });
});
