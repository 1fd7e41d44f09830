/** A policy in a loop with the small engine, to test it with. */
import type { Decision, GuardConfig, PolicyConfig } from "./decision.js";
import { DecisionLoop } from "./decision-loop.js";
import { DEFAULT_GUARDS } from "./defaults.js";
import { SAMPLE_NOW_MS } from "./fixtures.js";
import type { Limits, SloTarget, Split, Window } from "./nouns.js";
import { WIDEST_LIMITS } from "./nouns.js";
import { SCENE_SLO, SmallEngine } from "./search-fixtures.js";
import type { Load } from "./search-fixtures.js";
import type { WindowFault } from "./signal/window.js";

export interface Scene {
  readonly policy: PolicyConfig;
  /** The load from so many ms on, at each window's start. */
  readonly load: (atMs: number) => Load;
  readonly durationMs: number;
  readonly initial?: Split;
  readonly limits?: Limits;
  readonly guards?: Partial<GuardConfig>;
  readonly slo?: SloTarget;
  readonly intervalMs?: number;
  readonly seed?: number;
  /** What the agent makes of a window. */
  readonly retell?: (window: Omit<Window, "seq" | "generation">) => Omit<Window, "seq" | "generation">;
}

export interface Tick {
  /** End of the window, ms since the scene began. */
  readonly atMs: number;
  readonly running: Split;
  readonly window: Omit<Window, "seq" | "generation">;
  readonly decision: Decision;
  readonly fault: WindowFault | null;
}

/** Closes the loop: what is decided at the end of a window runs from then on. */
export function play(scene: Scene): Tick[] {
  const { policy, limits = WIDEST_LIMITS, slo = SCENE_SLO, intervalMs = 5_000, seed = 1 } = scene;
  const guards = { ...DEFAULT_GUARDS, ...scene.guards };
  let running = { split: scene.initial ?? { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 100 };
  let lastSwitchMs: number | null = null;
  const engine = new SmallEngine(seed);
  const loop = new DecisionLoop({
    instance: "small",
    policy,
    guards,
    limits,
    initial: running,
    controlIntervalMs: intervalMs,
  });
  const ticks: Tick[] = [];
  for (let atMs = 0; atMs < scene.durationMs; atMs += intervalMs) {
    const served = engine.run(running.split, scene.load(atMs), intervalMs);
    const window = scene.retell?.(served) ?? served;
    const { decision, fault } = loop.observe({ window, slo, running, switchPending: false, lastSwitchMs });
    ticks.push({ atMs: atMs + intervalMs, running: running.split, window, decision, fault });
    if (decision.kind === "hold") continue;
    running = decision.allocation;
    lastSwitchMs = SAMPLE_NOW_MS + atMs + intervalMs;
  }
  return ticks;
}
