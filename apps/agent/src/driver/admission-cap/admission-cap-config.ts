import { z } from "zod";
import { durationMs, fixedSmPct, httpUrl } from "../../config-fields.js";

export const admissionCapQuota = z.strictObject({
  type: z.literal("admission-cap"),
  /** The gateway's cap, docs/engines.md "The admission cap". */
  url: httpUrl,
  /** Tokens of the engine's KV pool, where the gateway does not say. */
  kvTokens: z
    .int()
    .min(1)
    .max(2 ** 50)
    .optional(),
  minKvQuotaPct: z.number().min(1).max(100).default(5),
  timeoutMs: durationMs(10, 60_000, 2_000),
});

export const admissionCapDriver = admissionCapQuota.extend({ smPct: fixedSmPct });

export type AdmissionCapConfig = z.infer<typeof admissionCapDriver>;
