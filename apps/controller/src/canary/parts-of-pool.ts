import type { CanaryPlace } from "@fulcrum/core/outcome/canary-parts.js";
import { inCanary } from "@fulcrum/core/outcome/canary-parts.js";
import type { EntityManager } from "typeorm";
import type { PoolRow } from "../pools/pool.rows.js";

interface Member {
  readonly id: string;
  readonly name: string;
  readonly hash: number;
}

export interface Parts {
  readonly canary: readonly Member[];
  readonly rest: readonly Member[];
}

/** The pool's instances on either side of its cut, each in the order of their numbers. */
export async function partsOf(
  manager: EntityManager,
  { id, canaryBelow: below }: Pick<PoolRow, "id" | "canaryBelow">,
): Promise<Parts> {
  const members = await manager.query<Member[]>(
    `SELECT id, name, canary_hash AS hash FROM instances WHERE pool_id = $1 AND deleted_at IS NULL ORDER BY canary_hash`,
    [id],
  );
  const [least, most] = [members.at(0)?.hash ?? 0, members.at(-1)?.hash ?? 0];
  const moved = ({ hash }: Member) => inCanary({ hash, below, least, most } satisfies CanaryPlace);
  return { canary: members.filter(moved), rest: members.filter((member) => !moved(member)) };
}
