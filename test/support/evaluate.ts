import { DecisionService } from "@fulcrum/controller/decisions/decision.service.js";

import type { TestController } from "./controller.js";

/** Decides for one instance as if its report had been due at `nowMs`; answers whether its allocation changed. */
export async function evaluate(
  controller: TestController,
  instance: string,
  nowMs: number = Date.now(),
): Promise<boolean> {
  const rows = await controller.source.query<{ id: string; last_seq: number; lookback_ms: number }[]>(
    `SELECT i.id, s.last_seq::float8 AS last_seq, p.lookback_ms FROM instances i
     JOIN pools p ON p.id = i.pool_id JOIN instance_signals s ON s.instance_id = i.id
     WHERE i.name = $1 AND i.deleted_at IS NULL`,
    [instance],
  );
  const row = rows.at(0);
  if (!row) throw new Error(`there is no instance ${instance}`);
  const due = { id: row.id, lastSeq: row.last_seq, lookbackMs: row.lookback_ms };
  return controller.app.get(DecisionService).evaluate([due], nowMs);
}
