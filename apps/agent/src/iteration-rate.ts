/** How fast an engine iterates: what a group's agreed iteration is put ahead by (docs/operations.md). */
import type { IterationProgress, SwitchAt } from "@fulcrum/contracts/agent-api.js";

/** Long enough to hold some lulls and bursts of a load that comes in gusts. */
const MEMORY_MS = 10_000;
/** Looks are kept this far apart, so that a fast poll does not fill memory. */
const APART_MS = 250;
const MAX_PER_S = 1_000_000;

interface Look extends SwitchAt {
  readonly atMs: number;
}

export class IterationRate {
  private bootId: string | null = null;
  /** Oldest first; the first is at least MEMORY_MS old when there is one that old. */
  private looks: readonly Look[] = [];

  /** A read-back; null for `iterations` where the engine does not count. An engine that began anew counts anew. */
  note(bootId: string, iterations: SwitchAt | null, nowMs: number): void {
    const last = this.looks.at(-1);
    const fell = last && iterations && (iterations.prefill < last.prefill || iterations.decode < last.decode);
    if (bootId !== this.bootId || iterations === null || fell) this.looks = [];
    this.bootId = bootId;
    if (iterations === null || (this.looks.length > 0 && last && nowMs - last.atMs < APART_MS)) return;
    const start = this.looks.findLastIndex(({ atMs }) => nowMs - atMs >= MEMORY_MS);
    this.looks = [...this.looks.slice(Math.max(0, start)), { ...iterations, atMs: nowMs }];
  }

  /** With the mean rates of the last seconds; 0 before there were two looks. */
  progress({ prefill, decode }: SwitchAt): IterationProgress {
    const first = this.looks[0];
    const last = this.looks.at(-1);
    const seconds = first && last ? (last.atMs - first.atMs) / 1_000 : 0;
    const perS = (role: keyof SwitchAt): number =>
      first && last && seconds > 0 ? Math.min(MAX_PER_S, (last[role] - first[role]) / seconds) : 0;
    return { prefill, decode, prefillPerS: perS("prefill"), decodePerS: perS("decode") };
  }
}
