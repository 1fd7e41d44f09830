/** What the fleet list shows of an instance, and in which order. Pure. */
import type { FleetItem } from "@fulcrum/contracts/live.js";

export type Health = "misses" | "attention" | "silent" | "meets";

export interface Judgement {
  readonly health: Health;
  /** Said in words: "misses TTFT", "no signal". */
  readonly words: string;
  readonly missesTtft: boolean;
  readonly missesTpot: boolean;
  /** How far over its bounds, 1 is at the bound; sorts the worst first. */
  readonly excess: number;
}

const SILENT = new Set(["NoSignal", "StaleSignal"]);
/** Conditions that ask for a person though the SLO may be met. */
const ATTENTION = new Set([
  "AllocationLost",
  "Degraded",
  "DriverUnreachable",
  "GpuSuspect",
  "GpuXid",
  "MpsFault",
  "MpsMissing",
  "RankContested",
  "RanksParted",
  "ResidentNotReady",
  "ScrapeFailing",
  "WorkerJournalUnwritable",
  "WorkerLost",
]);

export function judge(item: FleetItem): Judgement {
  const { slo, ttftMs, tpotMs, attainmentShare, instance } = item;
  const missesTtft = ttftMs !== null && ttftMs > slo.ttft.boundMs;
  const missesTpot = tpotMs !== null && tpotMs > slo.tpot.boundMs;
  const isShort = attainmentShare !== null && attainmentShare < slo.attainmentShare;
  const ratios = [(ttftMs ?? 0) / slo.ttft.boundMs, (tpotMs ?? 0) / slo.tpot.boundMs];
  if (attainmentShare !== null) ratios.push(slo.attainmentShare / Math.max(attainmentShare, 0.01));
  const base = { missesTtft, missesTpot, excess: Math.max(...ratios) };
  if (instance.conditions.some((condition) => SILENT.has(condition)))
    return { ...base, health: "silent", words: "no signal", excess: 0 };
  if (missesTtft || missesTpot || isShort)
    return { ...base, health: "misses", words: missWords(base, isShort) };
  if (instance.conditions.some((condition) => ATTENTION.has(condition)))
    return { ...base, health: "attention", words: "needs a look" };
  if (ttftMs === null && tpotMs === null) return { ...base, health: "meets", words: "no requests" };
  return { ...base, health: "meets", words: "meets its SLO" };
}

function missWords(base: { missesTtft: boolean; missesTpot: boolean }, isShort: boolean): string {
  if (base.missesTtft && base.missesTpot) return "misses TTFT and TPOT";
  if (base.missesTtft) return "misses TTFT";
  if (base.missesTpot) return "misses TPOT";
  return isShort ? "misses attainment" : "";
}

/** What a decision to move comes to in each mode. */
export const MOVES: Readonly<Record<FleetItem["instance"]["mode"], string>> = {
  observe: "Would move",
  recommend: "Proposed",
  canary: "Decided to move",
  enforce: "Moved",
};

export type SortKey = "worst" | "name" | "pool" | "attainment" | "ttft" | "tpot" | "kv" | "decided";

export interface FleetFilter {
  readonly text: string;
  readonly pool: string;
  readonly state: "" | Health | "paused";
  readonly sort: SortKey;
}

export interface Judged {
  readonly item: FleetItem;
  readonly judgement: Judgement;
}

const RANK: Readonly<Record<Health, number>> = { misses: 0, attention: 1, silent: 2, meets: 3 };

export function isHeld({ instance }: FleetItem): boolean {
  return instance.conditions.some((one) => one === "Paused" || one === "Pinned");
}

function passes({ item, judgement }: Judged, { text, pool, state }: FleetFilter): boolean {
  const { instance } = item;
  if (pool !== "" && instance.pool !== pool) return false;
  if (state === "paused" ? !isHeld(item) : state !== "" && judgement.health !== state) return false;
  const words = `${instance.name} ${instance.pool} ${instance.mode} ${judgement.words} ${instance.conditions.join(" ")} ${instance.agents.join(" ")}`;
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((part) => words.toLowerCase().includes(part));
}

/** Missing numbers come last in every order; equal ones go by name. */
const KEYS: Readonly<Record<SortKey, (judged: Judged) => number | string>> = {
  worst: ({ judgement }) => RANK[judgement.health] * 1e6 - Math.min(judgement.excess, 1e5),
  name: () => 0,
  pool: ({ item }) => item.instance.pool,
  attainment: ({ item }) => item.attainmentShare ?? 2,
  ttft: ({ item }) => -(item.ttftMs ?? -1),
  tpot: ({ item }) => -(item.tpotMs ?? -1),
  kv: ({ item }) => -(item.kvUsedShare ?? -1),
  decided: ({ item }) => -Date.parse(item.instance.lastDecision?.at ?? "1970-01-01"),
};

export function arrange(judged: readonly Judged[], filter: FleetFilter): Judged[] {
  const key = KEYS[filter.sort];
  return judged
    .filter((one) => passes(one, filter))
    .map((one) => ({ one, key: key(one) }))
    .sort((a, b) =>
      a.key < b.key ? -1 : a.key > b.key ? 1 : a.one.item.instance.name < b.one.item.instance.name ? -1 : 1,
    )
    .map(({ one }) => one);
}

/** `48 instances, 3 miss their SLO, 1 gives no signal, 2 are held`. */
export function summaryOf(judged: readonly Judged[]): {
  total: number;
  misses: number;
  silent: number;
  held: number;
} {
  const count = (health: Health) => judged.filter(({ judgement }) => judgement.health === health).length;
  return {
    total: judged.length,
    misses: count("misses"),
    silent: count("silent"),
    held: judged.filter(({ item }) => isHeld(item)).length,
  };
}
