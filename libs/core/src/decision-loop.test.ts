import { describe, expect, test } from "vitest";
import type { PolicyConfig } from "./decision.js";
import { MAX_RECENT_MOVES } from "./decision.js";
import { DEFAULT_GUARDS, DEFAULT_SEARCH } from "./defaults.js";
import { DecisionLoop } from "./decision-loop.js";
import type { Measured } from "./decision-loop.js";
import { SAMPLE_NOW_MS } from "./fixtures.js";
import type { Allocation, Split } from "./nouns.js";
import { WIDEST_LIMITS } from "./nouns.js";
import { LIGHT_CHAT, LONG_PROMPTS, SCENE_SLO, SmallEngine } from "./search-fixtures.js";
import { play } from "./search-scene.js";
import type { Load } from "./search-fixtures.js";

const search: PolicyConfig = { name: "search", params: DEFAULT_SEARCH };
const OPEN: Allocation = { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 100 };

function loopOf(policy: PolicyConfig = search, controlIntervalMs = 5_000): DecisionLoop {
  const fixed = { instance: "small", guards: DEFAULT_GUARDS, limits: WIDEST_LIMITS, initial: OPEN };
  return new DecisionLoop({ ...fixed, policy, controlIntervalMs });
}

/** An instance whose loop is closed by hand. */
class Bench {
  readonly engine = new SmallEngine(1);
  running = OPEN;
  lastSwitchMs: number | null = null;
  nowMs = SAMPLE_NOW_MS;

  constructor(readonly loop: DecisionLoop) {}

  /** Serves for one interval and asks. */
  tick(load: Load, over: Partial<Measured> = {}, durationMs = 5_000) {
    const window = this.engine.run(this.running.split, load, durationMs);
    this.nowMs = window.endAtMs;
    const { running, lastSwitchMs } = this;
    const sighting = { window, slo: SCENE_SLO, running, switchPending: false, lastSwitchMs, ...over };
    return this.loop.observe(sighting);
  }

  /** Ticks until something is to move. */
  untilMove(load: Load) {
    for (let i = 0; i < 20; i++) {
      const { decision } = this.tick(load);
      if (decision.kind === "move") return decision;
    }
    throw new Error("nothing moved");
  }
}

const ratio = ({ prefillSmPct, decodeSmPct }: Split) => prefillSmPct / decodeSmPct;

test("before anything was measured it holds, for want of a signal", () => {
  expect(loopOf().start(SCENE_SLO)).toMatchObject({ kind: "hold", reason: "NO_SIGNAL", allocation: OPEN });
});

test("a static policy is obeyed at once, and then at its target", () => {
  const target: Allocation = { split: { prefillSmPct: 70, decodeSmPct: 40 }, kvQuotaPct: 90 };
  const loop = loopOf({ name: "static", params: { allocation: target } });
  expect(loop.start(SCENE_SLO)).toMatchObject({ kind: "move", allocation: target });
  expect(loop.asked).toEqual(target);
  const bench = new Bench(loop);
  bench.running = target;
  expect(bench.tick(LIGHT_CHAT).decision).toMatchObject({ kind: "hold", reason: "AT_TARGET" });
});

describe("a switch", () => {
  test("is asked once: while it is pending the loop holds, and counts the load that comes", () => {
    const bench = new Bench(loopOf());
    const { allocation } = bench.untilMove(LONG_PROMPTS);
    expect(ratio(allocation.split)).toBeGreaterThan(2);
    expect(bench.loop.asked).toEqual(allocation);
    const before = bench.tick(LONG_PROMPTS, { switchPending: true }).decision;
    const after = bench.tick(LONG_PROMPTS, { switchPending: true }).decision;
    expect(before).toMatchObject({ kind: "hold", reason: "ROLLOUT_OPEN" });
    expect(after.state?.values.demand).not.toEqual(before.state?.values.demand);
    // Two splits were at work: nothing is learnt of either.
    expect(after.state?.values.learntS).toEqual(before.state?.values.learntS);
  });

  test("starts the dwell when it came into force, and windows from then on count for the new split", () => {
    const bench = new Bench(loopOf());
    const { allocation, state } = bench.untilMove(LONG_PROMPTS);
    bench.tick(LONG_PROMPTS, { switchPending: true });
    bench.running = allocation;
    bench.lastSwitchMs = bench.nowMs;
    const learntS = (of: typeof state) => of?.values.learntS as number;
    const whole = bench.tick(LONG_PROMPTS).decision;
    expect(whole.reason).toBe("DWELL");
    expect(learntS(whole.state)).toBeCloseTo(learntS(state) + 5, 6);
    const later = [bench.tick(LONG_PROMPTS), bench.tick(LONG_PROMPTS)].map(({ decision }) => decision.reason);
    expect(later).not.toContain("DWELL");
  });

  test("in the middle of a window: that window is of neither split", () => {
    const bench = new Bench(loopOf());
    const { allocation, state } = bench.untilMove(LONG_PROMPTS);
    bench.running = allocation;
    bench.lastSwitchMs = bench.nowMs + 2_000;
    const { decision } = bench.tick(LONG_PROMPTS);
    expect(decision.state?.values.learntS).toBe(state?.values.learntS);
    expect(decision.state?.values.mean).toEqual(state?.values.mean);
  });

  test("raises the generation that decisions are based on", () => {
    const bench = new Bench(loopOf());
    const first = bench.untilMove(LONG_PROMPTS);
    bench.running = first.allocation;
    bench.lastSwitchMs = bench.nowMs;
    const next = bench.tick(LONG_PROMPTS).decision;
    expect(next.basedOnGeneration).toBe(first.basedOnGeneration + 1);
  });
});

describe("windows", () => {
  test("one that cannot be true is named, left out, and does not stop the loop", () => {
    const bench = new Bench(loopOf());
    const good = bench.tick(LIGHT_CHAT).decision;
    const window = { ...bench.engine.run(OPEN.split, LIGHT_CHAT, 5_000), arrivals: -1 };
    const odd = bench.loop.observe({
      window,
      slo: SCENE_SLO,
      running: OPEN,
      switchPending: false,
      lastSwitchMs: null,
    });
    expect(odd.fault).toMatchObject({ field: "arrivals" });
    expect(odd.decision.state?.values.demand).toEqual(good.state?.values.demand);
    expect(bench.tick(LIGHT_CHAT).fault).toBeNull();
  });

  test("nothing but untrue ones is no signal", () => {
    const bench = new Bench(loopOf());
    const window = { ...bench.engine.run(OPEN.split, LIGHT_CHAT, 5_000), durationMs: 0 };
    const sighting = { slo: SCENE_SLO, running: OPEN, switchPending: false, lastSwitchMs: null };
    expect(bench.loop.observe({ window, ...sighting }).decision.reason).toBe("NO_SIGNAL");
  });

  test("two long ones in a row that cannot be believed are no silence", () => {
    const bench = new Bench(loopOf(search, 90_000));
    bench.tick(LIGHT_CHAT, {}, 90_000);
    const odd = () => ({ ...bench.engine.run(OPEN.split, LIGHT_CHAT, 90_000), finished: -1 });
    const sighting = { slo: SCENE_SLO, running: OPEN, switchPending: false, lastSwitchMs: null };
    const answers = [odd(), odd()].map((window) => bench.loop.observe({ window, ...sighting }));
    for (const { fault, decision } of answers) {
      expect(fault).not.toBeNull();
      expect(decision.reason).not.toMatch(/SIGNAL/);
    }
  });

  test.each([500, 5_000, 60_000, 300_000])(
    "of %i ms are each learnt from once, and are not stale",
    (intervalMs) => {
      const bench = new Bench(loopOf(search, intervalMs));
      const decisions = Array.from({ length: 8 }, () => bench.tick(LIGHT_CHAT, {}, intervalMs).decision);
      decisions.forEach(({ state, reason }, i) => {
        expect(reason).not.toMatch(/SIGNAL/);
        if (state !== null) expect(state.values.learntS).toBeCloseTo(((i + 1) * intervalMs) / 1000, 3);
      });
      expect(decisions.at(-1)?.state).not.toBeNull();
    },
  );
});

test("the same measurements give the same decisions", () => {
  const scene = { policy: search, load: () => LONG_PROMPTS, durationMs: 60_000 };
  const [one, two] = [play(scene), play(scene)].map((ticks) => ticks.map(({ decision }) => decision));
  expect(one).toEqual(two);
});

test("an engine that never takes what is asked is asked again, and hundreds of moves are no broken snapshot", () => {
  const target: Allocation = { split: { prefillSmPct: 60, decodeSmPct: 60 }, kvQuotaPct: 100 };
  const bench = new Bench(loopOf({ name: "static", params: { allocation: target } }));
  for (let i = 0; i < 3 * MAX_RECENT_MOVES; i++) {
    const { decision } = bench.tick(LIGHT_CHAT, { running: OPEN }, 100);
    expect(decision).toMatchObject({ kind: "move", allocation: target });
  }
});

describe("a clock that goes back", () => {
  test("is a new beginning: it decides at once again, and moves when the load asks for it", () => {
    const loop = loopOf();
    const before = new Bench(loop);
    before.untilMove(LONG_PROMPTS);
    for (let i = 0; i < 40; i++) before.tick(LIGHT_CHAT);
    // Its engine's clock begins anew, more than two minutes before.
    const again = new Bench(loop);
    expect(again.tick(LIGHT_CHAT).decision.reason).not.toBe("MAD_SIGNAL");
    expect(again.nowMs).toBeLessThan(before.nowMs - 120_000);
    expect(again.untilMove(LONG_PROMPTS).allocation.split).not.toEqual(OPEN.split);
  });
});
