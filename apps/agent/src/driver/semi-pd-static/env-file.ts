/** The two environment variables that public Semi-PD reads when it starts (main @2565f9f, semi_pd/utils.py:10-11). */
import { type GeneratedAllocation, type Split, WIDEST_LIMITS } from "@fulcrum/core/nouns.js";
import type { DriverCapabilities, Plan } from "../partition-driver.js";
import { quantise } from "../quantise.js";
import type { SplitFile } from "../restart/restart-knob.js";
import type { SemiPdStaticConfig } from "./semi-pd-config.js";

const PREFILL = "SEMI_PD_PREFILL_SM_PERCENTILE";
const DECODE = "SEMI_PD_DECODE_SM_PERCENTILE";
const GENERATION = "FULCRUM_GENERATION";

/** Semi-PD's own defaults. */
const START_UP: Split = { prefillSmPct: 80, decodeSmPct: 100 };
/** The variables are whole percents. */
const GRANULARITY_PCT = 1;

export function semiPdEnvFile(config: SemiPdStaticConfig): SplitFile {
  const { envFile, minSmPct, smCount = null, smPerTpc } = config;
  return {
    driver: "semi-pd-static",
    path: envFile,
    startUp: START_UP,
    limits: { ...WIDEST_LIMITS, minSmPct, granularityPct: GRANULARITY_PCT },
    smCount,
    roundingPct: smCount === null ? GRANULARITY_PCT : (100 * smPerTpc) / smCount,
    plan: (target: GeneratedAllocation, capabilities: DriverCapabilities): Plan =>
      quantise(target, capabilities),
    render: renderEnv,
    parse: parseEnv,
  };
}

export function renderEnv(generation: number, { prefillSmPct, decodeSmPct }: Split): string {
  return [
    "# Written by the Fulcrum agent; read by Semi-PD when it starts.",
    `${PREFILL}=${prefillSmPct}`,
    `${DECODE}=${decodeSmPct}`,
    `${GENERATION}=${generation}`,
    "",
  ].join("\n");
}

/** Also of a file that a person wrote; what is not named in it has Semi-PD's default. */
export function parseEnv(text: string): { readonly generation: number; readonly split: Split } | null {
  const values = new Map<string, number>();
  for (const line of text.split("\n")) {
    const found = /^\s*(?:export\s+)?([A-Z_]+)\s*=\s*"?(\d{1,10})"?\s*$/.exec(line);
    if (found?.[1] !== undefined) values.set(found[1], Number(found[2]));
  }
  const split = {
    prefillSmPct: values.get(PREFILL) ?? START_UP.prefillSmPct,
    decodeSmPct: values.get(DECODE) ?? START_UP.decodeSmPct,
  };
  const fits = Object.values(split).every((pct) => pct >= 1 && pct <= 100);
  return fits ? { generation: Math.min(values.get(GENERATION) ?? 0, 2_147_483_647), split } : null;
}
