import type { Assignment, InstanceReport, Rejection, ReportAnswer } from "@fulcrum/contracts/agent-api.js";
import type { Window } from "@fulcrum/core/nouns.js";
import { Inject, Injectable } from "@nestjs/common";
import type { Logger } from "pino";
import { DataSource } from "typeorm";
import { AssignmentService, toAssignment } from "../assignments/assignment.service.js";
import { DecisionService } from "../decisions/decision.service.js";
import { RecentWindows } from "../decisions/recent-windows.js";
import { ProblemError } from "../http/problem-error.js";
import { LOGGER } from "../obs/logger.js";
import { Metrics } from "../obs/metrics.js";
import { SKEW_MS } from "../fleet/fleet.read.js";
import { DeadlockService, NO_PROGRESS } from "../reconfigurations/deadlock.service.js";
import type { CheckedReport } from "./check-report.js";
import { type StoredInstance, type WindowBatch, WindowWriter } from "./window-writer.js";

/** An agent's row is written at most this often: it only says "seen". */
const SEEN_EVERY_MS = 5_000;
const MAX_AGENTS_REMEMBERED = 10_000;

/** The way of a report: store its windows, decide for what is due, answer with what should run. */
@Injectable()
export class ReportService {
  private readonly seenAtMs = new Map<string, number>();

  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(WindowWriter) private readonly writer: WindowWriter,
    @Inject(DecisionService) private readonly decisions: DecisionService,
    @Inject(RecentWindows) private readonly recent: RecentWindows,
    @Inject(DeadlockService) private readonly deadlocks: DeadlockService,
    @Inject(AssignmentService) private readonly assignments: AssignmentService,
    @Inject(Metrics) private readonly metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** `traced`: whether the agent takes the trace of a change with it. */
  async take(report: CheckedReport, traced = false): Promise<ReportAnswer> {
    const startedAt = performance.now();
    const nowMs = Date.now();
    const clockSkewMs = nowMs - report.sentAtMs;
    const batches = report.instances.map((entry) => toBatch(report.agent, entry, clockSkewMs));
    const stored = await this.writer.write(batches);
    this.rememberWindows(batches, stored);
    const mine = report.instances.map((entry) => stored.get(entry.instance));
    const known = mine.filter((row): row is StoredInstance => row !== undefined);
    const rejected = [...report.rejected, ...unknownOnes(report.instances, stored)];
    await this.noteSeen(report.agent, clockSkewMs, nowMs);
    const takenBack = await this.takeBackFor(report.instances, stored);
    const changed = (await this.decideFor(report.agent, known, nowMs)) || takenBack;
    const assigned = changed
      ? (await this.assignments.forAgent(report.agent, traced)).assignments
      : known.map(toAssignment);
    const answer: ReportAnswer = {
      accepted: known.map((row) => ({ instance: row.name, lastSeq: confirmedSeq(row, report.instances) })),
      rejected,
      assignments: outstanding(assigned, report.instances),
      clockSkewMs,
    };
    for (const rejection of rejected) this.metrics.rejected(rejection.code);
    this.metrics.reportAnswered(storedIn(batches, stored), (performance.now() - startedAt) / 1_000);
    if (known.length === 0 && rejected.length > 0) throw nothingAccepted(rejected);
    return answer;
  }

  private rememberWindows(
    batches: readonly WindowBatch[],
    stored: ReadonlyMap<string, StoredInstance>,
  ): void {
    for (const { instance, windows } of batches) {
      const row = stored.get(instance);
      if (row?.speaks) this.recent.append(row.instance_id, row.previous_seq, windows, row.lookback_ms);
    }
  }

  /** An engine that stands still after a change gets back what it ran before; a failure is made good by the next report. */
  private async takeBackFor(
    entries: readonly InstanceReport[],
    stored: ReadonlyMap<string, StoredInstance>,
  ): Promise<boolean> {
    const stalled = entries
      .filter(({ conditions }) => conditions.includes(NO_PROGRESS))
      .map(({ instance }) => stored.get(instance)?.instance_id)
      .filter((id) => id !== undefined);
    try {
      return await this.deadlocks.takeBack(stalled);
    } catch (error) {
      this.logger.error({ event: "take_back_failed", instances: stalled.length, err: error });
      return false;
    }
  }

  /** The windows are safe by now: a failure to decide is logged and made good by the next report. */
  private async decideFor(agent: string, known: readonly StoredInstance[], nowMs: number): Promise<boolean> {
    const due = known.filter(
      (row) => row.evaluated_at === null || nowMs - row.evaluated_at.getTime() >= row.control_interval_ms,
    );
    try {
      return await this.decisions.evaluate(
        due.map((row) => ({ id: row.instance_id, lastSeq: row.last_seq, lookbackMs: row.lookback_ms })),
        nowMs,
        agent,
      );
    } catch (error) {
      this.logger.error({ event: "evaluation_failed", instances: due.length, err: error });
      return false;
    }
  }

  private async noteSeen(agent: string, clockSkewMs: number, nowMs: number): Promise<void> {
    if ((this.seenAtMs.get(agent) ?? 0) > nowMs - SEEN_EVERY_MS) return;
    if (this.seenAtMs.size >= MAX_AGENTS_REMEMBERED) this.seenAtMs.clear();
    this.seenAtMs.set(agent, nowMs);
    await this.source.query("UPDATE agents SET last_seen_at = $2, clock_skew_ms = $3 WHERE name = $1", [
      agent,
      new Date(nowMs),
      clockSkewMs,
    ]);
  }
}

/**
 * Brings a batch into the controller's time. Below SKEW_MS the difference is mostly the network's, and
 * moving the windows by it would only make them jitter.
 */
function toBatch(agent: string, entry: InstanceReport, clockSkewMs: number): WindowBatch {
  const shiftMs = Math.abs(clockSkewMs) > SKEW_MS ? Math.round(clockSkewMs) : 0;
  const windows: readonly Window[] =
    shiftMs === 0
      ? entry.windows
      : entry.windows.map((window) => ({
          ...window,
          startAtMs: window.startAtMs + shiftMs,
          endAtMs: window.endAtMs + shiftMs,
        }));
  return { agent, instance: entry.instance, windows, observed: entry.observed, conditions: entry.conditions };
}

function unknownOnes(
  entries: readonly InstanceReport[],
  stored: ReadonlyMap<string, StoredInstance>,
): Rejection[] {
  return entries
    .filter((entry) => !stored.has(entry.instance))
    .map(({ instance }) => ({
      instance,
      code: "unknown_instance",
      field: "instance",
      detail: `Instance ${instance} is not registered by this agent, or was deleted; register it again.`,
    }));
}

/** What the agent has not yet read back as running. */
function outstanding(assigned: readonly Assignment[], entries: readonly InstanceReport[]): Assignment[] {
  const observed = new Map(entries.map((entry) => [entry.instance, entry.observed?.generation ?? null]));
  return assigned.filter(
    ({ instance, generation }) => observed.has(instance) && observed.get(instance) !== generation,
  );
}

/** How many of the windows were new. */
function storedIn(batches: readonly WindowBatch[], stored: ReadonlyMap<string, StoredInstance>): number {
  return batches.reduce((sum, { instance, windows }) => {
    const row = stored.get(instance);
    return row?.speaks ? sum + windows.filter(({ seq }) => seq > row.previous_seq).length : sum;
  }, 0);
}

/** Up to where the agent may forget its windows; those of an agent that does not speak for the group are all let go. */
function confirmedSeq(row: StoredInstance, entries: readonly InstanceReport[]): number {
  if (row.speaks) return row.last_seq;
  const given = entries
    .filter((entry) => entry.instance === row.name)
    .flatMap(({ windows }) => windows.map(({ seq }) => seq));
  return Math.max(row.last_seq, ...given);
}

function nothingAccepted(rejected: readonly Rejection[]): ProblemError {
  const errors = rejected
    .slice(0, 20)
    .map((one) => ({ field: `${one.instance || "?"}.${one.field ?? ""}`, message: one.detail }));
  return new ProblemError("nothing_accepted", rejected[0]!.detail, errors);
}
