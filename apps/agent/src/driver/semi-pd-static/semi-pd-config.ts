import { z } from "zod";
import { engineRestart } from "../restart/engine-restart.js";
import { absolutePath } from "../../config-fields.js";

export const semiPdStaticDriver = z
  .strictObject({
    type: z.literal("semi-pd-static"),
    /** Read by the engine's unit, for example EnvironmentFile=. */
    envFile: absolutePath,
    minSmPct: z.int().min(1).max(100).default(5),
    restart: engineRestart,
    /** The engine's log: its "Available SMs" lines are the read-back. Both or none of the two. */
    logFile: absolutePath.optional(),
    smCount: z.int().min(1).max(10_000).optional(),
    smPerTpc: z.int().min(1).max(64).default(2),
  })
  .refine(({ logFile, smCount }) => logFile === undefined || smCount !== undefined, {
    path: ["smCount"],
    error: "must be the GPU's number of SMs where logFile is read",
  });

export type SemiPdStaticConfig = z.infer<typeof semiPdStaticDriver>;
