/** The two environment variables that public Semi-PD reads when it starts (main @2565f9f, semi_pd/utils.py:10-11). */
import { type GeneratedAllocation, type Split, WIDEST_LIMITS } from "@fulcrum/core/nouns.js";
import type { DriverCapabilities, Plan } from "../../partition-driver.js";
import { quantise } from "../quantise.js";
import type { FileSaid, SplitFile } from "../restart/restart-knob.js";
import { MAX_TOLD_GENERATION } from "../staged/knob.js";
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

const LINE = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$/;
const WHOLE = /^(?:(\d{1,10})|"(\d{1,10})"|'(\d{1,10})')$/;
/** Of the variables that are read, each within its bounds. */
const BOUNDS: ReadonlyMap<string, readonly [least: number, most: number]> = new Map([
  [PREFILL, [1, 100]],
  [DECODE, [1, 100]],
  [GENERATION, [0, MAX_TOLD_GENERATION]],
]);

/** Also of a file that a person wrote; what is not named in it has Semi-PD's default. */
export function parseEnv(text: string): FileSaid | { readonly problem: string } {
  const values = new Map<string, number>();
  for (const line of text.split("\n")) {
    const [, name = "", said = ""] = LINE.exec(line) ?? [];
    const bounds = BOUNDS.get(name);
    if (!bounds) continue;
    const digits = WHOLE.exec(said)
      ?.slice(1)
      .find((group) => group !== undefined);
    const value = digits === undefined ? Number.NaN : Number(digits);
    if (!(value >= bounds[0] && value <= bounds[1])) {
      const problem = `${name} must be a whole number, ${bounds.join("..")}, got ${said.slice(0, 100)}`;
      return { problem };
    }
    values.set(name, value);
  }
  const split = {
    prefillSmPct: values.get(PREFILL) ?? START_UP.prefillSmPct,
    decodeSmPct: values.get(DECODE) ?? START_UP.decodeSmPct,
  };
  return { generation: values.get(GENERATION) ?? 0, split };
}
