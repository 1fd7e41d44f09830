import { setTimeout as pause } from "node:timers/promises";

import { instanceReport, registration, registrationEntry, report, wireWindow } from "../../support/wire.js";

const REQUEST_LIMIT_MS = 5_000;
const RETRY_MS = 20;
const WINDOWS_PER_REPORT = 3;

/** Many instances whose windows come as fast as they are taken; remembers which were answered 2xx. */
export class ReportStream {
  /** By instance: the numbers of the windows that were answered 2xx. */
  readonly answered = new Map<string, Set<number>>();
  /** How often each status came; 0 stands for no answer at all. */
  readonly statuses = new Map<number, number>();
  private readonly stopped = new AbortController();
  private readonly running: Promise<unknown>;

  private constructor(
    private readonly url: () => string,
    private readonly key: string,
    private readonly agent: string,
    instances: readonly string[],
  ) {
    this.running = Promise.all(instances.map((instance) => this.stream(instance)));
  }

  /** Registers `count` instances of the pool and begins. `url` is asked before every request. */
  static async start(options: {
    url: () => string;
    key: string;
    agent: string;
    pool: string;
    count: number;
  }): Promise<ReportStream> {
    const { url, key, agent, pool, count } = options;
    const instances = Array.from({ length: count }, (_, i) => `${agent}-${i}`);
    const body = registration(
      agent,
      instances.map((instance) => registrationEntry(instance, pool)),
    );
    const answer = await fetch(`${url()}/agent/v1/register`, {
      method: "POST",
      headers: headersOf(key),
      body: JSON.stringify(body),
    });
    if (answer.status !== 200) throw new Error(await answer.text());
    return new ReportStream(url, key, agent, instances);
  }

  get total(): number {
    return [...this.answered.values()].reduce((sum, numbers) => sum + numbers.size, 0);
  }

  async stop(): Promise<void> {
    this.stopped.abort();
    await this.running;
  }

  /** As an agent does: what was not answered 2xx is sent again. */
  private async stream(instance: string): Promise<void> {
    const answered = new Set<number>();
    this.answered.set(instance, answered);
    let seq = 1;
    while (!this.stopped.signal.aborted) {
      const numbers = Array.from({ length: WINDOWS_PER_REPORT }, (_, i) => seq + i);
      const status = await this.send(instance, numbers);
      this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
      if (status === 200) {
        for (const number of numbers) answered.add(number);
        seq += WINDOWS_PER_REPORT;
      } else await pause(RETRY_MS);
    }
  }

  private async send(instance: string, numbers: readonly number[]): Promise<number> {
    const windows = numbers.map((number) => wireWindow(number));
    const body = report(this.agent, [instanceReport(instance, windows)]);
    try {
      const answer = await fetch(`${this.url()}/agent/v1/report`, {
        method: "POST",
        headers: headersOf(this.key),
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(REQUEST_LIMIT_MS),
      });
      await answer.text();
      return answer.status;
    } catch {
      return 0;
    }
  }
}

function headersOf(key: string): Record<string, string> {
  return { authorization: `Bearer ${key}`, "content-type": "application/json" };
}
