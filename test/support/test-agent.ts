import type { Ack, AckOutcome, RankStep } from "@fulcrum/contracts/agent-api.js";
import type { Window } from "@fulcrum/core/nouns.js";

import type { TestController } from "./controller.js";
import { ack, instanceReport, registration, registrationEntry, report, wireWindow } from "./wire.js";

type Entry = ReturnType<typeof registrationEntry>;

/** An agent over the wire: it counts its windows and speaks to whichever controller it is told. */
export class TestAgent {
  private readonly lastSeq = new Map<string, number>();

  constructor(
    private readonly home: TestController,
    readonly name: string,
  ) {}

  async register(...entries: Entry[]) {
    const answer = await this.home.ask("register", {
      body: registration(this.name, entries),
      key: await this.key(),
    });
    if (answer.rejected.length > 0) throw new Error(JSON.stringify(answer.rejected));
    return answer;
  }

  /** Posts one new window of the instance. */
  async report(instance: string, options: ReportOptions = {}) {
    const seq = (this.lastSeq.get(instance) ?? 0) + 1;
    this.lastSeq.set(instance, seq);
    const entry = instanceReport(instance, [wireWindow(seq, options.window)], options.entry);
    return (options.via ?? this.home).ask("report", {
      body: report(this.name, [entry]),
      key: await this.key(),
    });
  }

  /** What the agent should run; null when it still carries `etag` after `waitMs`. */
  async poll(options: { etag?: string; waitMs?: number; via?: TestController; signal?: AbortSignal } = {}) {
    const reply = await (options.via ?? this.home).call("getAssignments", {
      query: { agent: this.name, waitMs: options.waitMs ?? 0 },
      headers: options.etag ? { "if-none-match": options.etag } : {},
      key: await this.key(),
      signal: options.signal,
    });
    if (reply.problem) throw new Error(JSON.stringify(reply.problem));
    return reply.body && { etag: reply.headers.get("etag")!, assignments: reply.body.assignments };
  }

  async ack(
    instance: string,
    generation: number,
    step: RankStep,
    over: Partial<Ack> = {},
    via: TestController = this.home,
  ): Promise<AckOutcome> {
    const { results } = await via.ask("acknowledge", {
      body: { agent: this.name, sentAtMs: Date.now(), acks: [ack(instance, generation, step, over)] },
      key: await this.key(),
    });
    return results.at(0)!.outcome;
  }

  /** Every step from preparing to verified. */
  async carryOut(instance: string, generation: number, over: Partial<Ack> = {}): Promise<void> {
    for (const step of ["preparing", "ready", "switched", "verified"] as const) {
      const outcome = await this.ack(instance, generation, step, over);
      if (outcome !== "applied") throw new Error(`${instance} generation ${generation} ${step}: ${outcome}`);
    }
  }

  key(): Promise<string> {
    return this.home.agentKey(this.name);
  }
}

interface ReportOptions {
  readonly window?: Partial<Window>;
  readonly entry?: Partial<ReturnType<typeof instanceReport>>;
  readonly via?: TestController;
}
