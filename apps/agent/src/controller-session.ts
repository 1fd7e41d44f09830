/**
 * The agent's side of the agent API: registers what it looks after, posts reports, takes assignments, delivers
 * acknowledgements. Nothing here touches an engine; while the controller is away nothing but buffering happens.
 */
import type { Ack, Assignment, InstanceReport, Rejection } from "@fulcrum/contracts/agent-api.js";
import type { Logger } from "pino";
import { AckOutbox, unfollowedFailures } from "./ack-outbox.js";
import type { AgentMetrics } from "./agent-metrics.js";
import type { Clock } from "./clock.js";
import { type ControllerClient, ControllerError } from "./controller-client.js";
import type { ControllerLink } from "./controller-link.js";
import type { InstanceLoop } from "./instance-loop.js";
import { MAX_BUFFERED_WINDOWS, MAX_WINDOWS_PER_SEND } from "./window/window-buffer.js";

/** Enough reports in a row to empty a full buffer after an absence. */
const MAX_CATCH_UP = Math.ceil(MAX_BUFFERED_WINDOWS / MAX_WINDOWS_PER_SEND);
/** Least time between two long polls, for a controller that answers at once. */
const MIN_POLL_GAP_MS = 50;
const IDLE_POLL_GAP_MS = 1_000;

/** Rejections that say that the controller does not know the instance, as opposed to its windows being bad. */
const UNKNOWN_CODES: ReadonlySet<string> = new Set([
  "unknown",
  "unknown_instance",
  "not_registered",
  "not_found",
  "gone",
]);
const UNKNOWN_STATUS: ReadonlySet<number | null> = new Set([401, 403, 404, 410]);

export interface SessionOptions {
  readonly agent: string;
  readonly node: string;
  readonly agentVersion: string;
  readonly reregisterMs: number;
  readonly longPollMs: number;
  readonly instances: readonly InstanceLoop[];
  readonly client: ControllerClient;
  readonly link: ControllerLink;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: AgentMetrics;
}

export class ControllerSession {
  private readonly outbox = new AckOutbox();
  private readonly registered = new Set<string>();
  private readonly registerNotBeforeMs = new Map<string, number>();
  private readonly lastRejection = new Map<string, string>();
  private everRegistered = false;
  private exchanging: Promise<void> | null = null;
  private acknowledging: Promise<void> | null = null;
  private refusedReports = 0;
  /** By instance, of the newest generation that came with one; what the controller did not trace is not in it. */
  private readonly traces = new Map<string, { readonly generation: number; readonly traceparent: string }>();

  constructor(private readonly options: SessionOptions) {}

  get registeredInstances(): readonly string[] {
    return [...this.registered];
  }

  get pendingAcks(): number {
    return this.outbox.size;
  }

  emit(acks: readonly Ack[]): void {
    this.outbox.add(acks);
    void this.acknowledge();
  }

  /** Registers what is not, and reports. An exchange under way is not doubled. Never rejects. */
  exchange(): Promise<void> {
    this.exchanging ??= this.exchangeOnce().finally(() => {
      this.exchanging = null;
    });
    return this.exchanging;
  }

  /** What was under way when the agent was told to stop. */
  async finish(): Promise<void> {
    await this.exchanging;
    await this.acknowledge();
  }

  /** Waits for assignments until the signal aborts. */
  async poll(signal: AbortSignal): Promise<void> {
    const { client, clock, link, agent, longPollMs } = this.options;
    let etag: string | null = null;
    while (!signal.aborted) {
      if (this.registered.size === 0 || !link.mayTry) {
        etag = null;
        await clock.sleep(Math.max(MIN_POLL_GAP_MS, Math.min(link.waitMs, IDLE_POLL_GAP_MS)), signal);
        continue;
      }
      const startedAtMs = clock.monotonicMs();
      try {
        const { answer, etag: newEtag } = await client.pollAssignments({
          agent,
          waitMs: longPollMs,
          etag,
          signal,
        });
        this.options.link.heard();
        // A controller that answers early with nothing new would be asked without pause.
        const early = clock.monotonicMs() - startedAtMs < longPollMs / 2;
        const nothingNew = answer === null || (newEtag !== null && newEtag === etag);
        etag = newEtag;
        for (const assignment of answer?.assignments ?? []) this.assign(assignment);
        await clock.sleep(early && nothingNew ? IDLE_POLL_GAP_MS : MIN_POLL_GAP_MS, signal);
      } catch (error) {
        if (signal.aborted) return;
        etag = null;
        this.noteFailure(error);
        await clock.sleep(Math.max(MIN_POLL_GAP_MS, link.waitMs), signal);
      }
    }
  }

  private async exchangeOnce(): Promise<void> {
    if (!this.options.link.mayTry) return;
    try {
      await this.register();
      for (let round = 0; round < MAX_CATCH_UP; round += 1) {
        if (!(await this.report())) break;
      }
      await this.acknowledge();
    } catch (error) {
      this.noteFailure(error);
    }
  }

  private async register(): Promise<void> {
    const { instances, client, clock, link, log, agent, node, agentVersion, reregisterMs } = this.options;
    const parts = instances.map((loop) => loop.registrationPart()).filter((part) => part !== null);
    const now = clock.monotonicMs();
    const due = parts.filter(
      ({ instance }) =>
        !this.registered.has(instance) && now >= (this.registerNotBeforeMs.get(instance) ?? 0),
    );
    if (due.length === 0 && this.everRegistered) return;
    const answer = await client.register({
      agent,
      node,
      agentVersion,
      sentAtMs: clock.nowMs(),
      instances: parts,
    });
    link.heard();
    this.everRegistered = true;
    for (const { instance } of parts) this.registerNotBeforeMs.set(instance, now + reregisterMs);
    for (const registered of answer.instances) {
      const loop = this.loopOf(registered.instance);
      if (!loop) continue;
      this.registered.add(loop.name);
      this.lastRejection.delete(loop.name);
      loop.registered(registered);
    }
    for (const rejection of answer.rejected) this.noteRejection(rejection);
    log.info({ event: "registered", instances: this.registeredInstances, clockSkewMs: answer.clockSkewMs });
  }

  /** One report. True when windows still wait. */
  private async report(): Promise<boolean> {
    const { client, clock, link, metrics, agent } = this.options;
    const loops = this.options.instances.filter((loop) => this.registered.has(loop.name));
    if (loops.length === 0) return false;
    const parts = new Map(loops.map((loop) => [loop.name, loop.reportPart()]));
    try {
      const sentAtMs = clock.nowMs();
      const answer = await client.report({ agent, sentAtMs, instances: [...parts.values()] });
      link.heard();
      this.refusedReports = 0;
      metrics.add("reports_total", { result: "sent" });
      for (const { instance, lastSeq } of answer.accepted) {
        const part = parts.get(instance);
        if (!part) continue;
        this.lastRejection.delete(instance);
        this.loopOf(instance)?.accepted(lastSeq, part);
      }
      for (const rejection of answer.rejected) this.rejected(rejection, parts.get(rejection.instance));
      for (const assignment of answer.assignments) this.assign(assignment);
    } catch (error) {
      metrics.add("reports_total", { result: "failed" });
      if (error instanceof ControllerError && error.kind === "refused") this.reportRefused(error, parts);
      throw error;
    }
    return loops.some((loop) => loop.buffered > 0 && this.registered.has(loop.name));
  }

  private rejected(rejection: Rejection, part: InstanceReport | undefined): void {
    this.noteRejection(rejection);
    if (!part) return;
    if (UNKNOWN_CODES.has(rejection.code)) this.registered.delete(part.instance);
    else this.loopOf(part.instance)?.windowsRejected(part);
  }

  /**
   * The whole report was refused. First the instances register again, for the controller may have forgotten
   * them; refused again, the windows themselves are at fault and are dropped.
   */
  private reportRefused(error: ControllerError, parts: ReadonlyMap<string, InstanceReport>): void {
    this.refusedReports += 1;
    for (const [instance, part] of parts) {
      this.registered.delete(instance);
      if (this.refusedReports > 1 && !UNKNOWN_STATUS.has(error.status)) {
        this.loopOf(instance)?.windowsRejected(part);
      }
    }
  }

  /** Sends what waits, in order, until nothing does or the controller does not take it. Never rejects. */
  private acknowledge(): Promise<void> {
    this.acknowledging ??= this.acknowledgeAll().finally(() => {
      this.acknowledging = null;
    });
    return this.acknowledging;
  }

  private async acknowledgeAll(): Promise<void> {
    const { client, clock, link, metrics, log, agent } = this.options;
    // Of an instance that is not registered, the controller would only say that it does not know it.
    while (this.outbox.size > 0 && this.registered.size > 0 && link.mayTry) {
      const acks = this.outbox.head();
      try {
        const body = { agent, sentAtMs: clock.nowMs(), acks: [...acks] };
        const answer = await client.acknowledge(body, this.traceOf(acks));
        link.heard();
        this.outbox.remove(acks);
        for (const { outcome } of answer.results) metrics.add("acks_total", { outcome });
        for (const { instance, generation, attempt } of unfollowedFailures(acks, answer)) {
          this.loopOf(instance)?.rollout.targets.leftAlone(generation, attempt);
        }
      } catch (error) {
        const refusedForGood =
          error instanceof ControllerError && error.kind === "refused" && !UNKNOWN_STATUS.has(error.status);
        if (refusedForGood) {
          log.error({ event: "acks_refused", acks: acks.length, error: error.message });
          this.outbox.remove(acks);
        }
        this.noteFailure(error);
        return;
      }
    }
  }

  private assign(assignment: Assignment): void {
    const { instance, generation, traceparent } = assignment;
    const loop = this.loopOf(instance);
    const known = this.traces.get(instance)?.generation ?? 0;
    if (loop && traceparent !== undefined && generation >= known)
      this.traces.set(instance, { generation, traceparent });
    if (loop) loop.offer(assignment);
    else this.options.log.debug({ event: "assignment_of_other", instance: assignment.instance });
  }

  /** The trace that all of them belong to; null when they are of several, or of none. */
  private traceOf(acks: readonly Ack[]): string | null {
    const found = new Set(
      acks.map(({ instance, generation }) => {
        const trace = this.traces.get(instance);
        return trace?.generation === generation ? trace.traceparent : null;
      }),
    );
    return found.size === 1 ? [...found][0]! : null;
  }

  private noteFailure(error: unknown): void {
    const { link } = this.options;
    // What is not the controller's doing is a fault of this program, or its key file: shown, and tried again.
    const failure =
      error instanceof ControllerError ? error : new ControllerError("bad_answer", String(error));
    if (failure.kind === "refused" && UNKNOWN_STATUS.has(failure.status)) this.registered.clear();
    link.failed(failure);
  }

  /** Once per kind of rejection: it comes back with every try. */
  private noteRejection({ instance, code, field, detail }: Rejection): void {
    if (this.lastRejection.get(instance) === code || !this.loopOf(instance)) return;
    this.lastRejection.set(instance, code);
    this.options.log.warn({ event: "instance_rejected", instance, code, field }, detail);
  }

  private loopOf(instance: string): InstanceLoop | undefined {
    return this.options.instances.find((loop) => loop.name === instance);
  }
}
