import { type ProgressSample, type ProgressVerdict, progressVerdict } from "./progress.js";

/** Samples kept per limit: finer steps would move the verdict by less than a hundredth of it. */
const SAMPLES_PER_LIMIT = 100;

/** What of an instance's scrapes the progress rule needs, bounded. */
export class ProgressWatch {
  private samples: ProgressSample[] = [];

  constructor(private readonly limitMs: number) {}

  /** Oldest first; of the last two limits. */
  get history(): readonly ProgressSample[] {
    return this.samples;
  }

  /** Takes a scrape in; the same one again, or an older one, changes nothing. */
  note(sample: ProgressSample): void {
    const last = this.samples.at(-1);
    if (last && sample.atMs <= last.atMs) return;
    // The one between two close ones of the same stall tells nothing.
    if (last && this.isCloseTo(this.samples.at(-2), sample) && sameState(last, sample)) this.samples.pop();
    this.samples.push(sample);
    const from = this.samples.findIndex(({ atMs }) => sample.atMs - atMs <= 2 * this.limitMs);
    this.samples.splice(0, from);
  }

  verdict(nowMs: number): ProgressVerdict {
    return progressVerdict(this.samples, nowMs, this.limitMs);
  }

  /** The engine began anew: what was before says nothing of it. */
  restart(): void {
    this.samples = [];
  }

  private isCloseTo(earlier: ProgressSample | undefined, sample: ProgressSample): boolean {
    return earlier !== undefined && sample.atMs - earlier.atMs < this.limitMs / SAMPLES_PER_LIMIT;
  }
}

function sameState(a: ProgressSample, b: ProgressSample): boolean {
  return a.outputTokens === b.outputTokens && a.running === b.running;
}
