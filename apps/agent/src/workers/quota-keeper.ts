import type { Logger } from "pino";
import type { QuotaPort } from "./quota-port.js";

const RETRY_MS = 1_000;

/** Keeps the KV quota at what is asked: once per generation, and again when the residents have begun anew. */
export class QuotaKeeper {
  private doneFor = "";
  private busy = false;
  private notBeforeMs = 0;

  constructor(
    private readonly port: QuotaPort | null,
    private readonly log: Logger,
    private readonly changed: () => void,
  ) {}

  /**
   * Whether it is set, or was tried and could not be: then `verify` says so, and it is tried again. Generation 0 was
   * never asked for. `boot` changes when what was set is lost.
   */
  keep(of: { readonly generation: number; readonly kvQuotaPct: number; readonly boot: string }): boolean {
    const { port, log } = this;
    const { generation, kvQuotaPct } = of;
    const wanted = `${of.boot} ${generation}`;
    if (port === null || generation === 0 || this.doneFor === wanted) return true;
    if (this.busy) return false;
    if (performance.now() < this.notBeforeMs) return true;
    this.busy = true;
    port
      .setQuota(kvQuotaPct, generation)
      .then(
        (result) => {
          this.doneFor = wanted;
          return log.info({ event: "quota_set", generation, kvQuotaPct, result });
        },
        (error: unknown) => {
          this.notBeforeMs = performance.now() + RETRY_MS;
          log.error({ event: "quota_failed", generation, error: String(error) });
        },
      )
      .finally(() => {
        this.busy = false;
        this.changed();
      });
    return false;
  }
}
