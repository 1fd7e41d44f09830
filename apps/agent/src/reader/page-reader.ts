/** Reads one engine over HTTP: all its metrics pages at once, one snapshot of them together. */
import type { Clock } from "../clock.js";
import { type EngineMetrics, snapshotOf } from "./engine-metrics.js";
import type { EngineReader, Snapshot } from "./engine-reader.js";
import { fetchText } from "./fetch-text.js";

/** SGLang with every histogram on exposes some 200 KB; ten thousand label sets still fit. */
export const MAX_BODY_BYTES = 10_000_000;

export interface PageReaderOptions {
  readonly metrics: EngineMetrics;
  /** More than one where every data-parallel rank has an endpoint of its own: they add up. */
  readonly urls: readonly string[];
  readonly timeoutMs: number;
  readonly model?: string | undefined;
}

export class PageReader implements EngineReader {
  constructor(
    private readonly options: PageReaderOptions,
    private readonly clock: Clock,
  ) {}

  /** A page that cannot be read fails the scrape: the others alone would count less than before. */
  async scrape(signal: AbortSignal): Promise<Snapshot> {
    const { metrics, urls, timeoutMs, model } = this.options;
    const pages = await Promise.all(
      urls.map((url) => fetchText({ url, timeoutMs, maxBytes: MAX_BODY_BYTES, signal })),
    );
    const at = { atMs: this.clock.nowMs(), monotonicMs: this.clock.monotonicMs() };
    return snapshotOf(metrics, pages, at, model);
  }
}
