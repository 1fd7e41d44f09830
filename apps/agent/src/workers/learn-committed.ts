import type { Allocation } from "@fulcrum/core/nouns.js";
import type { WorkerView } from "./role-view.js";

/** Without a journal what runs is what the workers that iterate say; null when none does. Pure. */
export function learnCommitted(
  { prefill, decode }: { readonly prefill?: WorkerView; readonly decode?: WorkerView },
  startUp: Allocation,
): { readonly generation: number; readonly asked: Allocation } | null {
  if (!prefill && !decode) return null;
  const prefillSmPct = prefill?.smPct ?? startUp.split.prefillSmPct;
  const decodeSmPct = decode?.smPct ?? startUp.split.decodeSmPct;
  return {
    generation: Math.max(prefill?.generation ?? 0, decode?.generation ?? 0),
    asked: { split: { prefillSmPct, decodeSmPct }, kvQuotaPct: startUp.kvQuotaPct },
  };
}
