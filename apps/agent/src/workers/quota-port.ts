/** Where the KV quota of an instance is set while its workers run. */
export interface QuotaPort {
  /**
   * Prefill's quota in percent of the pool; `revision` only grows.
   * `deferred`: prefill holds more than that now and converges. `stale`: a newer revision was set already.
   */
  setQuota(pct: number, revision: number): Promise<"applied" | "deferred" | "stale">;
  /** Percent; null if it cannot be read. */
  quotaPct(): Promise<number | null>;
  close(): void;
}
