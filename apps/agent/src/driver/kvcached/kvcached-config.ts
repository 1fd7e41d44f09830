import { z } from "zod";
import { absolutePath, durationMs, fixedSmPct } from "../../config-fields.js";
import { SEGMENT_FOLDER } from "./segment.js";

/** As kvcached sanitises KVCACHED_IPC_NAME. A final `*` takes the one segment whose name begins so. */
const segmentName = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,64}\*?$/, "must be 1..64 of A-Z a-z 0-9 _ -, and may end with *");

const bytes = z
  .int()
  .min(1)
  .max(2 ** 50);
/** kvcached's page is a multiple of 2 MiB. */
const PAGE_BYTES = 2 * 1024 * 1024;

const fields = z.strictObject({
  type: z.literal("kvcached"),
  segment: segmentName,
  folder: absolutePath.default(SEGMENT_FOLDER),
  /** Page x layers x KV buffers: 2 MiB x 32 x 2 = 128 MiB for a model of 32 layers. */
  layers: z.int().min(1).max(10_000),
  kvBuffers: z.int().min(1).max(2).default(2),
  pageBytes: z
    .int()
    .multipleOf(PAGE_BYTES)
    .min(PAGE_BYTES)
    .max(2 ** 40)
    .default(PAGE_BYTES),
  /** The start-up total, where it was changed before the agent first saw the segment; else read then. */
  startTotalBytes: bytes.optional(),
  /** For kvcached without pull request #499 (Sep 2026). */
  restoreOneBundleShort: z.boolean().default(true),
  /** Write limits below what is in use: nothing is admitted until enough requests have finished. */
  drain: z.boolean().default(false),
  /** Other engines on this GPU: a growth waits until the sum fits the budget. */
  share: z.strictObject({ budgetBytes: bytes, peers: z.array(segmentName).min(1).max(64) }).optional(),
  lockTimeoutMs: durationMs(1, 60_000, 1_000),
});

interface Sharing {
  readonly segment: string;
  readonly share?: { readonly peers: readonly string[] } | undefined;
}

/** Whoever counts itself among the others waits for itself for ever. */
const withOthersOnly = <T extends z.ZodType<Sharing>>(shape: T): T =>
  shape
    .refine(({ segment, share }) => share?.peers.every((peer) => !mayBeSame(peer, segment)) ?? true, {
      path: ["share", "peers"],
      error: "must not fit the instance's own segment",
    })
    .refine(({ share }) => new Set(share?.peers).size === (share?.peers.length ?? 0), {
      path: ["share", "peers"],
      error: "must not name a segment twice",
    });

function mayBeSame(left: string, right: string): boolean {
  const [a, b] = [left, right].map((name) => name.replace(/\*$/, "")) as [string, string];
  if (left.endsWith("*") && right.endsWith("*")) return a.startsWith(b) || b.startsWith(a);
  if (left.endsWith("*")) return b.startsWith(a);
  return right.endsWith("*") ? a.startsWith(b) : a === b;
}

export const kvcachedQuota = withOthersOnly(fields);
export const kvcachedDriver = withOthersOnly(fields.extend({ smPct: fixedSmPct }));

export type KvcachedConfig = z.infer<typeof kvcachedDriver>;
