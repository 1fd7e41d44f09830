/** The KV quota beside the split: what kvAdmission says of the pool, at the load that the search policy has learnt. */
import type { Snapshot } from "../decision.js";
import { kvAdmission } from "./kv-admission.js";
import type { AdmissionAnswer } from "./kv-admission.js";
import type { SearchModel } from "./search-model.js";
import type { Prospect } from "./search-prospect.js";

/** Answers scatter by about this much of their mean (ShareGPT 0.73, Azure 0.8), where no engine tells their squares. */
const ANSWER_CV = 0.75;

/** Null where the engine does not tell its KV use: the quota is left alone. */
export function searchQuota(snapshot: Snapshot, model: SearchModel, now: Prospect): AdmissionAnswer | null {
  const { latest, limits } = snapshot;
  const { totalTokens, usedTokens } = latest?.kv ?? { totalTokens: null, usedTokens: null };
  const running = latest?.queue.decodeRunning ?? null;
  if (totalTokens === null || usedTokens === null || running === null || totalTokens <= 0) return null;
  const { demand } = model;
  const waiting = latest?.queue.prefillWaiting ?? 0;
  const { prefill, batch, stepMs } = now.state;
  const squares = demand.promptMeanSq / demand.promptMean;
  return kvAdmission({
    totalTokens,
    usedTokens,
    running,
    outputMeanTokens: demand.outputMean,
    outputSdTokens: ANSWER_CV * demand.outputMean,
    promptMeanTokens: demand.promptMean,
    arrivalPerS: demand.ratePerS,
    waitingTokens: latest?.work?.prefillWaitingTokens ?? waiting * demand.promptMean,
    prefillMsPerToken:
      prefill.firstMs + prefill.secondMs * squares + prefill.constMs / (batch * demand.promptMean),
    decodeStepMs: stepMs,
    minQuotaPct: limits.minKvQuotaPct,
    maxQuotaPct: limits.maxKvQuotaPct,
  });
}
