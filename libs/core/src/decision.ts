/**
 * What goes into a decision and what comes out. All of it is plain JSON, because a decision's row holds
 * it all and must give the same answer when it is run again.
 */
import type {
  Allocation,
  GeneratedAllocation,
  Histogram,
  Limits,
  SloTarget,
  WindowClass,
  WindowWork,
} from "./nouns.js";

/** How far a signal may be trusted. A silent sensor is a state with a name, never a zero. */
export type Freshness = "fresh" | "thin" | "stale" | "missing";

/** Windows of one instance folded into one measurement; only windows that ran wholly at one generation count. */
export interface Signal {
  readonly freshness: Freshness;
  /** How many windows were folded, from when to when, and the engine time they cover. */
  readonly windows: number;
  readonly fromAtMs: number | null;
  readonly toAtMs: number | null;
  readonly durationMs: number;
  readonly arrivals: number;
  readonly promptTokens: number;
  readonly finished: number;
  readonly outputTokens: number;
  readonly ttft: Histogram | null;
  readonly tpot: Histogram | null;
  /** Time-weighted means; null when the engine does not say. */
  readonly busy: { readonly prefillShare: number | null; readonly decodeShare: number | null };
  /** Of the latest window. */
  readonly queue: { readonly prefillWaiting: number | null; readonly decodeRunning: number | null };
  readonly kv: {
    readonly totalTokens: number | null;
    readonly usedTokens: number | null;
    /** Summed over the windows. */
    readonly preemptions: number | null;
  };
  /** Sums over the windows, means weighted by what they are means of, gauges of the latest window. */
  readonly work?: WindowWork | null;
  /** Summed over the windows that tell classes; absent where none does. */
  readonly classes?: readonly WindowClass[];
}

/** A signal with the generation that every one of its windows ran at; null when they differ or one was between two. */
export interface LatestSignal extends Signal {
  readonly generation: number | null;
}

/** A change of allocation that was made: for dwell, flap budget and back-off. */
export interface Move {
  readonly atMs: number;
  readonly generation: number;
  readonly prefillDeltaPct: number;
  readonly decodeDeltaPct: number;
}

/** Whose hold it is and why, for the decision's sentence. */
export interface HoldOrigin {
  readonly kind: "pause" | "pin" | "override" | "freeze_window";
  readonly scope: "fleet" | "pool" | "instance";
  readonly actor: string;
  readonly reason: string;
}

/** What an operator has put in the way. `by` and `frozenBy` are absent in snapshots from before holds were kept. */
export interface OperatorHold {
  /** Held at the current allocation until `untilAtMs` (null: until it is taken away). */
  readonly pinned: { readonly untilAtMs: number | null; readonly by?: HoldOrigin } | null;
  /** A pause, a freeze window or a change freeze is in force. */
  readonly frozen: boolean;
  readonly frozenBy?: HoldOrigin & { readonly untilAtMs: number | null };
}

/** Everything that decide() may know about an instance. */
export interface Snapshot {
  readonly instance: string;
  readonly slo: SloTarget;
  readonly sloVersion: number;
  readonly current: GeneratedAllocation;
  /** The generation of a rollout that is not finished; null when none is. */
  readonly rolloutGeneration: number | null;
  /** When the current allocation was last seen in force on every rank; null: never changed. */
  readonly lastChangeAtMs: number | null;
  /** After rollouts that were rolled back: nothing is tried before then, and the wait doubles each time. */
  readonly coolDownUntilMs: number | null;
  /** The policy's own that were switched, not what people moved; newest last, at most MAX_RECENT_MOVES. */
  readonly recentMoves: readonly Move[];
  readonly limits: Limits;
  /** For how long a change stops the engine, as the driver expects; 0 or absent: it moves without a stop. */
  readonly downtimeMs?: number;
  readonly hold: OperatorHold;
  /** Changes in a row made it worse and were taken back: nothing is tried until a person says so. Absent: no. */
  readonly degraded?: boolean;
  readonly signal: Signal;
  /**
   * The windows since the last evaluation, whatever generation they ran at: what has arrived is true during a
   * switch too. Absent in snapshots stored before the search policy asked for it.
   */
  readonly latest?: LatestSignal | null;
  /** What the policy returned as `state` the time before; null at the first time or after a reset. */
  readonly state: PolicyState | null;
}

export const MAX_RECENT_MOVES = 64;

/** What a policy carries from one evaluation to the next. Opaque to everybody else; at most a few KB of JSON. */
export interface PolicyState {
  readonly policy: string;
  readonly version: number;
  readonly values: Readonly<Record<string, unknown>>;
}

/** Bounds on what leaves, whatever the policy wants. */
export interface GuardConfig {
  /** Greatest change of either cap in one decision, points. */
  readonly maxStepPct: number;
  /** No new change until the last one has been in force for so long. */
  readonly dwellMs: number;
  /** Reversals of direction allowed within `flapWindowMs`. */
  readonly flapBudget: number;
  readonly flapWindowMs: number;
  /** A signal of fewer first tokens or finished requests is thin. */
  readonly minSamples: number;
  /** A signal whose newest window is older is stale. */
  readonly staleAfterMs: number;
  /** Prefill's share stays above lambda times this (paper eq. 3: at or below lambda prefill is unstable). */
  readonly stabilityMargin: number;
}

export type PolicyConfig =
  | { readonly name: "static"; readonly params: StaticParams }
  | { readonly name: "feedback"; readonly params: FeedbackParams }
  | { readonly name: "semi-pd"; readonly params: SemiPdParams }
  | { readonly name: "search"; readonly params: SearchParams };

export interface StaticParams {
  readonly allocation: Allocation;
}

/** What to do when both targets are missed (paper.md 4.3: the choice must be explicit). */
export type BothMissed = "hold" | "open" | "worst-first";

export interface FeedbackParams {
  /** Points per step and greatest number of steps in one decision (paper Algorithm 1: step_size, max_step). */
  readonly stepPct: number;
  readonly maxSteps: number;
  readonly floorPct: number;
  readonly bothMissed: BothMissed;
  /** Smallest predicted relief of the missed phase, as a share of its latency, that is worth a change. */
  readonly minBenefitShare: number;
  /** Whether the KV quota rule moves the quota. */
  readonly moveKvQuota: boolean;
}

/** What the authors' `distserve_base` branch hard-codes or takes from its environment (paper.md §7.2). */
export interface SemiPdParams {
  /** Finished requests per decision. */
  readonly requestsPerDecision: number;
  readonly stepPct: number;
  readonly maxSteps: number;
  readonly floorPct: number;
  /** TPOT counts as missed when its percentile times this exceeds the bound. */
  readonly tpotMargin: number;
}

export interface SearchParams {
  /** Smallest expected gain, in share of requests within both bounds, that is worth a change. */
  readonly minGainShare: number;
  /** Whether the KV quota is searched too. */
  readonly moveKvQuota: boolean;
  /** What is known of the GPU and model beforehand; null: a prior that fits none in particular. */
  readonly prior: SearchPrior | null;
  /** Parts of the policy to leave out; for measuring what each is worth (fulcrum evaluate), not for serving. */
  readonly without?: readonly SearchPart[];
}

/** Parts of the search policy that can be taken away one at a time. */
export const SEARCH_PARTS = [
  "doubt",
  "load-change",
  "path",
  "wait-bias",
  "backlog",
  "patience",
  "price",
  "work",
] as const;

export type SearchPart = (typeof SEARCH_PARTS)[number];

/** Step times at all SMs, alone on the GPU, and how they grow as the share of SMs falls. */
export interface SearchPrior {
  readonly prefill: PhasePrior;
  readonly decode: PhasePrior;
}

export interface PhasePrior {
  /** ms: [constant, per prompt token, per sum of squared prompt lengths] or [constant, per sequence, per context token]. */
  readonly kernelMs: readonly [number, number, number];
  /** ms of host time per iteration, which no share changes. */
  readonly engineMs: number;
  /** s in T(f)/T(1) = 1 + s * (1/f - 1): 1 for work that scales with the SMs, 0 for work that does not care. */
  readonly sensitivity: number;
  /** How s grows with the iteration; left out: as MuxServe's curves do (GENERIC_GROWTH in model/plant-params.ts). */
  readonly growth?: SensitivityGrowth;
}

/**
 * Small iterations stream weights, which few SMs can do as well; large ones compute. From `small` to `large` (prompt
 * tokens or sequences) s grows by `gain` (less than 0: falls), evenly in the logarithm of the size; `sensitivity`
 * holds in the middle.
 */
export interface SensitivityGrowth {
  readonly small: number;
  readonly large: number;
  readonly gain: number;
}

export type MoveReason =
  | "STATIC_TARGET"
  | "TTFT_MISSED"
  | "TPOT_MISSED"
  | "BOTH_MISSED"
  | "BETTER_SPLIT"
  | "LOAD_CHANGED"
  | "KV_PRESSURE"
  | "KV_RELIEF";

export type HoldReason =
  | "BOTH_MET"
  | "AT_TARGET"
  | "NO_SIGNAL"
  | "THIN_SIGNAL"
  | "STALE_SIGNAL"
  | "MAD_SIGNAL"
  | "ROLLOUT_OPEN"
  | "COOL_DOWN"
  | "DWELL"
  | "PINNED"
  | "FROZEN"
  | "DEGRADED"
  | "FLAP_BUDGET"
  | "NO_ROOM"
  | "WOULD_BREAK_OTHER"
  | "NOT_WORTH_IT"
  | "BEST_KNOWN"
  | "WATCHING"
  | "BOTH_MISSED_HOLD"
  | "CANNOT_TELL"
  | "GUARDED_AWAY";

export type ReasonCode = MoveReason | HoldReason;

/** An allocation that was weighed, with what the models say of it; null where they cannot tell. */
export interface Candidate {
  readonly allocation: Allocation;
  readonly ttftMs: number | null;
  readonly tpotMs: number | null;
  readonly verdict: "chosen" | "meets" | "misses" | "breaks-other" | "out-of-bounds" | "unstable";
  /** Share of requests that is expected within both bounds of the SLO; absent where the policy does not tell. */
  readonly share?: number;
  /** The same of each promise where the SLO has classes, in order. */
  readonly classes?: readonly ClassShare[];
}

/** `name` null: the SLO's own promise. */
export interface ClassShare {
  readonly name: string | null;
  readonly share: number;
}

/** What was seen of a promise; null where nothing was. */
export interface ObservedClass {
  readonly name: string | null;
  readonly ttftOkShare: number | null;
  readonly tpotOkShare: number | null;
  /** Whether these are its own requests: else all of them are held against its bounds. */
  readonly own: boolean;
}

/** What a guard changed. */
export interface GuardNote {
  readonly guard: "step" | "limits" | "granularity" | "sum" | "stability" | "kv-floor";
  readonly from: Allocation;
  readonly to: Allocation;
}

/** What was seen against the targets. */
export interface Observed {
  readonly ttftMs: number | null;
  readonly tpotMs: number | null;
  readonly ttftOkShare: number | null;
  readonly tpotOkShare: number | null;
  /** False when the SLO bound lies inside a histogram bucket, so that the share is interpolated. */
  readonly exact: boolean;
  readonly arrivalPerS: number | null;
  /** Offered prefill load on a whole GPU: the smallest stable prefill share (paper eq. 3); null when unknown. */
  readonly lambdaShare: number | null;
  /** Where the SLO has classes: of each promise, in order, the SLO's own first. */
  readonly classes?: readonly ObservedClass[];
}

/** A decision is a value. `allocation` is what should be in force from now on; on hold it is the current one. */
export interface Decision {
  readonly kind: "move" | "hold";
  readonly reason: ReasonCode;
  /** One plain sentence with the numbers. */
  readonly message: string;
  readonly basedOnGeneration: number;
  readonly allocation: Allocation;
  /** What the policy wanted before the guards; null when it was not asked. */
  readonly wanted: Allocation | null;
  readonly predicted: { readonly ttftMs: number | null; readonly tpotMs: number | null } | null;
  readonly observed: Observed;
  readonly candidates: readonly Candidate[];
  readonly guards: readonly GuardNote[];
  readonly policy: { readonly name: string; readonly version: number };
  readonly state: PolicyState | null;
}
