/** The lock between those who move instances and those who say that nothing may move, or under which settings. */
import type { EntityManager } from "typeorm";

/** Any constant: whoever makes a hold or changes a pool has it alone, whoever applies a move shares it, until the commit. */
const HOLDS_LOCK = 4_702_113;

/** From here to the end of the transaction no move is committed, no other hold made or ended, and no other pool changed. */
export async function lockHolds(manager: EntityManager): Promise<void> {
  await manager.query("SELECT pg_advisory_xact_lock($1)", [HOLDS_LOCK]);
}

/** From here to the end of the transaction no hold is made or ended and no pool changed. Take it before any row's lock. */
export async function shareHolds(manager: EntityManager): Promise<void> {
  await manager.query("SELECT pg_advisory_xact_lock_shared($1)", [HOLDS_LOCK]);
}
