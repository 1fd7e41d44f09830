import { readFileSync } from "node:fs";
import { z } from "zod";
import { OptionError } from "../options.js";

/**
 * Where a worker can be made to fail: while it attaches; ready; armed; with the turn and before it has begun; with
 * the old one's blocks and before it has said so; with blocks taken; with an iteration done that is not posted; with one that is posted; before it passes the turn; after.
 */
const point = z.enum([
  "attach",
  "ready",
  "armed",
  "turn",
  "inherited",
  "allocated",
  "computed",
  "posted",
  "hand_over",
  "handed_over",
]);
export type FaultPoint = z.infer<typeof point>;

const fault = z.strictObject({
  /** SIGKILL to itself. */
  die: point.optional(),
  /** SIGSTOP to itself. */
  stop: point.optional(),
  /** It goes on reading and does nothing more. */
  hang: point.optional(),
  /** Not before so many of its own iterations. */
  after: z.int().min(0).default(0),
  /** In place of --prepare-ms. */
  prepareMs: z.number().min(0).optional(),
  /** What it says it sees. */
  smCount: z.int().min(1).optional(),
  ignoreSigterm: z.boolean().default(false),
});
export type Fault = z.infer<typeof fault>;

const NONE: Fault = { after: 0, ignoreSigterm: false };

/** Of the file's entry `<role> <generation>`; a file that is not there has none. Throws OptionError. */
export function readFault(file: string | null, role: string, generation: number): Fault {
  if (file === null) return NONE;
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return NONE;
  }
  const parsed = z.record(z.string(), fault).safeParse(JSON.parse(text));
  if (!parsed.success) throw new OptionError(`ENGINE_SIM_FAULTS ${file}: ${z.prettifyError(parsed.error)}`);
  return parsed.data[`${role} ${generation}`] ?? NONE;
}
