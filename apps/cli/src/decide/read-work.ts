/** What an observation tells of the workers' work, read leniently: what is absent or makes no sense is null. */
import type { WindowWork } from "@fulcrum/core/nouns.js";
import { finiteOrNull, isRecord } from "@fulcrum/core/signal/fault.js";

/** As the line gives it: whether its GPU fractions are of the window or of the busy time, it does not say. */
export interface SeenWork extends Omit<WindowWork, "prefillGpuShare" | "decodeGpuShare"> {
  readonly prefillGpuFrac: number | null;
  readonly decodeGpuFrac: number | null;
}

/** The bounds that the controller sets for a window's work; what is past them is a broken counter. */
const MOST = 1e12;
const MOST_SQUARED = 1e18;
const LONGEST_STEP_S = 3_600;
/** A share may pass 1 a little where two clocks measure it; 40 is a percentage, not a share. */
const MOST_SHARE = 1.05;

export function readWork(line: Record<string, unknown>): SeenWork {
  const part = (key: string): Record<string, unknown> => {
    const value = line[key];
    return isRecord(value) ? value : {};
  };
  const arrivals = part("arrivals");
  const prefill = part("prefill");
  const decode = part("decode");
  const queue = part("queue");
  const gpu = part("gpu");
  return {
    promptTokensSq: within(arrivals.promptTokensSq, MOST_SQUARED),
    maxPromptTokens: whole(arrivals.maxPrompt),
    finishedOutputTokens: whole(decode.outputTokensFinished),
    prefillBatches: whole(prefill.batches),
    prefillTokens: whole(prefill.tokens),
    decodeSteps: whole(decode.steps),
    decodeStepMeanMs: inMs(within(decode.stepMeanS, LONGEST_STEP_S)),
    decodeBatchMean: within(decode.batchMean, MOST),
    decodeContextMean: within(decode.ctxMean, MOST),
    overlapShare: share(decode.overlapFrac),
    prefillGpuFrac: share(prefill.gpuFrac),
    decodeGpuFrac: share(decode.gpuFrac),
    prefillWaitingTokens: within(queue.prefillWaitingTokens, MOST),
    oldestWaitMs: inMs(within(queue.oldestWaitS, MOST / 1000)),
    decodeWaiting: within(queue.decodeReady, MOST),
    maxSequences: whole(gpu.maxBatch),
    maxBatchTokens: whole(gpu.maxBatchedTokens),
  };
}

/** A phase cannot have had more of the GPU than it was busy; this much more is rounding. */
const ROUNDING_SHARE = 0.02;

/**
 * Makes a session's GPU fractions shares of the window. The protocol leaves open whether `gpuFrac` is the share of
 * the GPU averaged over the window or while the phase was busy. It is taken for the first until a window shows more
 * than the phase was busy, which only the second can be; from then on the whole session is read as the second.
 */
export class GpuShareReading {
  #whileBusy = false;

  /** Null when the observation tells nothing of the work. */
  workOf(seen: {
    readonly work: SeenWork;
    readonly prefillBusyShare: number | null;
    readonly decodeBusyShare: number | null;
  }): WindowWork | null {
    const { prefillGpuFrac, decodeGpuFrac, ...work } = seen.work;
    const { prefillBusyShare, decodeBusyShare } = seen;
    this.#whileBusy ||= exceeds(prefillGpuFrac, prefillBusyShare) || exceeds(decodeGpuFrac, decodeBusyShare);
    const whole: WindowWork = {
      ...work,
      prefillGpuShare: this.#ofWindow(prefillGpuFrac, prefillBusyShare),
      decodeGpuShare: this.#ofWindow(decodeGpuFrac, decodeBusyShare),
    };
    return Object.values(whole).every((value) => value === null) ? null : whole;
  }

  #ofWindow(gpuFrac: number | null, busyShare: number | null): number | null {
    if (gpuFrac === null || !this.#whileBusy) return gpuFrac;
    return busyShare === null ? null : gpuFrac * busyShare;
  }
}

function exceeds(gpuFrac: number | null, busyShare: number | null): boolean {
  return gpuFrac !== null && busyShare !== null && gpuFrac > busyShare + ROUNDING_SHARE;
}

function within(value: unknown, most: number): number | null {
  const read = finiteOrNull(value);
  return read !== null && read >= 0 && read <= most ? read : null;
}

function whole(value: unknown): number | null {
  const read = within(value, MOST);
  return read !== null && Number.isInteger(read) ? read : null;
}

function share(value: unknown): number | null {
  const read = within(value, MOST_SHARE);
  return read === null ? null : Math.min(1, read);
}

function inMs(seconds: number | null): number | null {
  return seconds === null ? null : 1000 * seconds;
}
