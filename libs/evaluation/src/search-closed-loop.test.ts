import { DEFAULT_GUARDS, DEFAULT_SEARCH } from "@fulcrum/core/defaults.js";
import type { SloTarget } from "@fulcrum/core/nouns.js";
import { WIDEST_LIMITS } from "@fulcrum/core/nouns.js";
import type { OverlapRule, Profile } from "@fulcrum/simulator/profile.js";
import type { LengthTable } from "@fulcrum/simulator/workload.js";
import { test } from "vitest";
import { requestsOf } from "./load.js";
import { policyController } from "./policy-controller.js";
import { priorOf } from "./prior-of.js";
import { runLane } from "./run-lane.js";
import { summarise } from "./summary.js";

const profileOf = (rule: OverlapRule): Profile => ({
  name: "x",
  sources: "x",
  smCount: 108,
  smPerTpc: 2,
  prefill: {
    kernelMs: [8, 0.06, 1.8e-6],
    engineMs: 15,
    smShare: { small: { size: 256, a: 0.37, b: 0.59 }, large: { size: 4096, a: 0.7, b: 0.26 } },
  },
  decode: {
    kernelMs: [11, 0.045, 1.1e-4],
    engineMs: 8,
    smShare: { small: { size: 16, a: 0.18, b: 0.79 }, large: { size: 64, a: 0.36, b: 0.62 } },
  },
  contention: { decodeByPrefill: 0.15, prefillByDecode: 0.05, overlapToPrefill: 0.65, overlapRule: rule },
  kvTotalTokens: 440_000,
  kvBlockTokens: 16,
  maxBatch: 512,
  maxBatchedTokens: 4096,
});
const slo = (ttft: number, tpot: number): SloTarget => ({
  ttft: { percentile: 0.9, boundMs: ttft },
  tpot: { percentile: 0.9, boundMs: tpot },
  attainmentShare: 0.9,
});
const documents: LengthTable = [
  {
    weight: 1,
    promptTokens: [
      [0, 800],
      [0.5, 2800],
      [1, 3200],
    ],
    outputTokens: [
      [0, 10],
      [0.5, 100],
      [1, 300],
    ],
  },
];
const chat: LengthTable = [
  {
    weight: 1,
    promptTokens: [
      [0, 5],
      [0.5, 80],
      [0.9, 700],
      [1, 1500],
    ],
    outputTokens: [
      [0, 5],
      [0.5, 250],
      [1, 800],
    ],
  },
];
const answers: LengthTable = [
  {
    weight: 1,
    promptTokens: [
      [0, 5],
      [1, 60],
    ],
    outputTokens: [
      [0, 200],
      [0.5, 420],
      [1, 900],
    ],
  },
];

const cases: [string, LengthTable, SloTarget, number[]][] = [
  ["documents", documents, slo(2250, 130), [3, 3.4, 3.8, 4.2]],
  ["chat", chat, slo(300, 150), [4, 12]],
  ["answers", answers, slo(300, 60), [10, 16, 20, 24]],
];
test("explore", () => {
  for (const rule of ["constant", "proportional"] as const)
    for (const [name, table, s, rates] of cases)
      for (const rate of rates) {
        if (rule === "proportional" && name === "chat") continue;
        const durationMs = 150_000;
        const profile = profileOf(rule);
        const requests = requestsOf(
          [{ name, durationMs, streams: [{ kind: "k", fromPerS: rate, toPerS: rate, cv: 1 }], bursts: [] }],
          { k: { kind: "table", table } },
          1,
        );
        const initial = { split: { prefillSmPct: 100, decodeSmPct: 100 }, kvQuotaPct: 100 };
        const common = {
          profile,
          requests,
          slo: s,
          initial,
          controlIntervalMs: 5000,
          prepareMs: 2000,
          drainMs: 60_000,
        };
        const t0 = Date.now();
        const open = summarise(runLane({ ...common, controller: null }), s, durationMs, 0);
        const t1 = Date.now();
        const out = [];
        for (const prior of [priorOf(profile), null]) {
          const controller = policyController({
            policy: { name: "search", params: { ...DEFAULT_SEARCH, prior } },
            guards: { ...DEFAULT_GUARDS, maxStepPct: 95 },
            limits: WIDEST_LIMITS,
            initial,
            controlIntervalMs: 5000,
          });
          const t2 = Date.now();
          const lane = summarise(runLane({ ...common, controller }), s, durationMs, 0);
          out.push(
            `${prior ? "told" : "blind"} ${lane.bothOk.toFixed(3)} [${lane.switches.map((x) => `${x.atMs / 1000}:${x.to.prefillSmPct}/${x.to.decodeSmPct}`).join(" ")}] ${Date.now() - t2}ms`,
          );
        }
        console.log(
          rule,
          name,
          rate,
          "open",
          open.bothOk.toFixed(3),
          `(${open.ttftOk.toFixed(2)} ${open.tpotOk.toFixed(2)}) ${t1 - t0}ms`,
          out.join(" | "),
        );
      }
}, 200_000);
