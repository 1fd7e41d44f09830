/** Where a pool is cut for its canary, and from when on the two parts are compared. */
import { isDeepStrictEqual } from "node:util";
import { DEFAULT_CANARY, type PoolInput } from "@fulcrum/contracts/pools.js";
import { cutAt } from "@fulcrum/core/outcome/canary-parts.js";
import type { EntityManager } from "typeorm";
import type { PoolRow } from "./pool.rows.js";

type CanaryFields = Pick<PoolRow, "canaryBelow" | "canarySince">;

/** Of a pool without instances: those that come are parted by the share itself. */
export function newCanary(input: PoolInput, now: Date): CanaryFields & Pick<PoolRow, "canary"> {
  const canary = { ...DEFAULT_CANARY, ...input.canary };
  const begun = input.mode === "canary" ? { canaryBelow: canary.share, canarySince: now } : NO_CANARY;
  return { canary, ...begun };
}

const NO_CANARY: CanaryFields = { canaryBelow: null, canarySince: null };

/** What makes the two parts another comparison than before. */
const TREATMENT = ["canary", "policy", "guards", "limits", "sloVersion"] as const;

/** What a change of a pool's row from `before` to `after` means for its canary; `after` has its new `updatedAt`. */
export async function canaryAfter(
  manager: EntityManager,
  before: PoolRow,
  after: PoolRow,
): Promise<CanaryFields & Pick<PoolRow, "alikeSince">> {
  const { alikeSince, updatedAt: now } = after;
  const was = before.mode === "canary";
  if (after.mode !== "canary") return { ...NO_CANARY, alikeSince: was ? now : alikeSince };
  const differs = (key: (typeof TREATMENT)[number]) => !isDeepStrictEqual(before[key], after[key]);
  if (was && !TREATMENT.some(differs)) return { ...kept(before), alikeSince };
  const cut =
    was && !differs("canary")
      ? before.canaryBelow
      : cutAt(await hashesOf(manager, after.id), after.canary.share);
  return { canaryBelow: cut, canarySince: now, alikeSince: was ? now : alikeSince };
}

function kept({ canaryBelow, canarySince }: PoolRow): CanaryFields {
  return { canaryBelow, canarySince };
}

/** Of the pool's instances, ascending. */
export async function hashesOf(manager: EntityManager, poolId: string): Promise<number[]> {
  const rows = await manager.query<{ hash: number }[]>(
    "SELECT canary_hash AS hash FROM instances WHERE pool_id = $1 AND deleted_at IS NULL ORDER BY canary_hash",
    [poolId],
  );
  return rows.map(({ hash }) => hash);
}
