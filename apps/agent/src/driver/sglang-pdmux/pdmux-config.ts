import { z } from "zod";
import { engineRestart } from "../restart/engine-restart.js";
import { absolutePath, durationMs, httpUrl } from "../../config-fields.js";

/** As SGLang's get_arch_constraints (pdmux_context.py @00d56e2): 9.x is the last it takes. */
const computeCapability = z
  .string()
  .regex(/^[6-9]\.\d$/, 'must be 6.0..9.9, in quotes, for example "9.0": SGLang\'s pdmux takes no other');

const smCount = z.int().min(18).max(10_000);

const byRestart = z.strictObject({
  kind: z.literal("restart"),
  /** Given to the engine as --pdmux-config-path. */
  configFile: absolutePath,
  splitForwardTokenBudget: z.int().min(1).max(10_000_000).default(65_536),
  decodeBsDivisor: z.int().min(1).max(100_000).default(36),
  restart: engineRestart,
});

const byHook = z.strictObject({
  kind: z.literal("hook"),
  /** docs/engines.md "The hook of SGLang's pdmux". */
  url: httpUrl,
  timeoutMs: durationMs(10, 60_000, 2_000),
});

export const sglangPdmuxDriver = z.strictObject({
  type: z.literal("sglang-pdmux"),
  smCount,
  computeCapability,
  move: z.discriminatedUnion("kind", [byRestart, byHook]),
});

export type SglangPdmuxConfig = z.infer<typeof sglangPdmuxDriver>;
export type PdmuxRestartConfig = z.infer<typeof byRestart>;
export type PdmuxHookConfig = z.infer<typeof byHook>;
