/** The YAML file that SGLang reads at start (--pdmux-config-path; load_pdmux_config, pdmux_context.py @00d56e2). */
import { parse, stringify } from "yaml";
import { z } from "zod";
import type { Split } from "@fulcrum/core/nouns.js";
import type { FileSaid, SplitFile } from "../restart/restart-knob.js";
import { MAX_TOLD_GENERATION } from "../staged/knob.js";
import type { PdmuxRestartConfig } from "./pdmux-config.js";
import { nearestGroup, planGroup, smLimits, splitOfGroup, type SmUnits } from "./sm-groups.js";

/** Group 0 is all prefill and the last all decode: SGLang asks for at least one between them. */
const OUTER_GROUPS = 2;
/** One division is used from the first sequence that decodes beside a prefill. */
const FROM_ONE_SEQUENCE = 1;
const GENERATION = /^# fulcrum generation (\d{1,10})$/m;

const groupsFile = z.looseObject({
  sm_group_num: z.int().min(3),
  manual_divisions: z.array(z.tuple([z.int().min(1), z.int().min(1), z.int().min(0)])).min(1),
});

export function pdmuxGroupsFile(config: PdmuxRestartConfig, units: SmUnits): SplitFile {
  const { smCount } = units;
  return {
    driver: "sglang-pdmux",
    path: config.configFile,
    startUp: splitOfGroup(nearestGroup({ prefillSmPct: 50, decodeSmPct: 50 }, units), smCount),
    limits: smLimits(units),
    smCount,
    roundingPct: 0,
    plan: (target) => planGroup(target, nearestGroup(target.split, units), units),
    render: (generation, split) => renderGroups(generation, split, config, units),
    parse: (text) => parseGroups(text, smCount),
  };
}

export function renderGroups(
  generation: number,
  split: Split,
  config: Pick<PdmuxRestartConfig, "splitForwardTokenBudget" | "decodeBsDivisor">,
  units: SmUnits,
): string {
  const [prefill, decode] = nearestGroup(split, units);
  const divisions = [[prefill, decode, FROM_ONE_SEQUENCE]];
  const text = stringify({
    sm_group_num: divisions.length + OUTER_GROUPS,
    manual_divisions: divisions,
    split_forward_token_budget: config.splitForwardTokenBudget,
    decode_bs_divisor: config.decodeBsDivisor,
  });
  return `# fulcrum generation ${generation}\n${text}`;
}

/** Of a file with several divisions the first is what it says at the smallest batch. */
function parseGroups(text: string, smCount: number): FileSaid | { readonly problem: string } {
  const read = groupsFile.safeParse(yamlOrNull(text));
  const [division] = read.success ? read.data.manual_divisions : [];
  if (!division) return { problem: "must hold manual_divisions of [prefill SMs, decode SMs, batch size]" };
  if (division[0] + division[1] !== smCount) {
    return {
      problem: `manual_divisions must sum to driver.smCount ${smCount}, got ${division[0]} + ${division[1]}`,
    };
  }
  const generation = Number(GENERATION.exec(text)?.[1] ?? 0);
  if (generation > MAX_TOLD_GENERATION) {
    return { problem: `the generation must be 0..${MAX_TOLD_GENERATION}, got ${generation}` };
  }
  return { generation, split: splitOfGroup([division[0], division[1]], smCount) };
}

function yamlOrNull(text: string): unknown {
  try {
    return parse(text);
  } catch {
    return null;
  }
}
