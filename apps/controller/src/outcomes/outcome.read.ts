import type { Evidence, TrialResource } from "@fulcrum/contracts/outcomes.js";
import { tidy } from "@fulcrum/core/allocation.js";
import type { Mode } from "@fulcrum/core/nouns.js";
import type { HindsightVerdict } from "@fulcrum/core/outcome/hindsight.js";
import type { Subject, Verdict } from "@fulcrum/core/outcome/judge.js";
import { Inject, Injectable } from "@nestjs/common";
import { DataSource } from "typeorm";
import { CanaryRead } from "../canary/canary.read.js";
import { findPool } from "../pools/pool.service.js";
import { OutcomeRow } from "./outcome.row.js";

interface Counted {
  mode: Mode;
  subject: Subject;
  open: number;
  trials: number;
  as_predicted: number;
  better: number;
  worse: number;
  cannot_tell: number;
  taken_back: number;
  compared: number;
  predicted_gain: number | null;
  observed_gain: number | null;
  would_have_helped: number;
  would_not: number;
  hindsight_unknown: number;
  hindsight_gain: number | null;
}

const share = (column: string) => `(o.${column} ->> 'attainmentShare')::float8`;
const COMPARED = `FILTER (WHERE ${share("predicted")} IS NOT NULL AND ${share("before")} IS NOT NULL
                            AND ${share("observed")} IS NOT NULL)`;
const ended = (verdict: Verdict) => `count(*) FILTER (WHERE o.verdict = '${verdict}')::int AS ${verdict}`;

const hindsight = (verdict: HindsightVerdict) =>
  `count(*) FILTER (WHERE o.hindsight ->> 'verdict' = '${verdict}')::int`;

const EVIDENCE = `
  SELECT o.mode, o.subject, count(*) FILTER (WHERE o.ended_at IS NULL)::int AS open, count(o.ended_at)::int AS trials,
         ${(["as_predicted", "better", "worse", "cannot_tell"] as const).map(ended).join(", ")},
         count(*) FILTER (WHERE o.taken_back)::int AS taken_back, count(*) ${COMPARED}::int AS compared,
         avg(${share("predicted")} - (o.predicted ->> 'stayingShare')::float8) ${COMPARED} AS predicted_gain,
         avg(${share("observed")} - ${share("before")}) ${COMPARED} AS observed_gain,
         ${hindsight("would_have_helped")} AS would_have_helped, ${hindsight("would_not")} AS would_not,
         ${hindsight("cannot_tell")} AS hindsight_unknown,
         avg((o.hindsight ->> 'gainShare')::float8) FILTER (WHERE o.hindsight ->> 'verdict' <> 'cannot_tell') AS hindsight_gain
  FROM outcomes o WHERE o.pool_id = $1 AND (o.ended_at > $2 OR o.ended_at IS NULL)
  GROUP BY o.mode, o.subject ORDER BY o.mode, o.subject`;

/** How decisions turned out, for the admin API. */
@Injectable()
export class OutcomeRead {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(CanaryRead) private readonly canary: CanaryRead,
  ) {}

  /** Of what was applied the move's trial, else that of staying; null when nothing was tried. */
  async ofDecision(decisionId: string): Promise<TrialResource | null> {
    const rows = await this.source.manager.findBy(OutcomeRow, { decisionId });
    const row = rows.find(({ subject }) => subject === "move") ?? rows.at(0);
    return row ? toTrial(row) : null;
  }

  /** @throws ProblemError not_found */
  async evidence(poolName: string, hours: number): Promise<Evidence> {
    const pool = await findPool(this.source.manager, poolName);
    const to = new Date();
    const from = new Date(to.getTime() - hours * 3_600_000);
    const rows = await this.source.query<Counted[]>(EVIDENCE, [pool.id, from]);
    const items = rows.filter(({ trials }) => trials > 0).map(toItem);
    const canary = pool.mode === "canary" ? await this.canary.of(pool) : null;
    return {
      pool: pool.name,
      mode: pool.mode,
      from: from.toISOString(),
      to: to.toISOString(),
      open: rows.reduce((sum, { open }) => sum + open, 0),
      items,
      canary,
      message: [evidenceWords(items, hours), canary?.message].filter(Boolean).join(" "),
    };
  }
}

function toTrial(row: OutcomeRow): TrialResource {
  const { verdict, subject, worseThan, requests, before, predicted, observed, takenBack } = row;
  return {
    verdict,
    subject,
    worseThan,
    from: row.startedAt.toISOString(),
    to: row.endedAt?.toISOString() ?? null,
    requests,
    before,
    // Rows of before it was kept have none.
    predicted: predicted && { ...predicted, stayingShare: predicted.stayingShare ?? null },
    observed,
    message: row.message ?? "The trial goes on: not enough has been seen yet.",
    takenBack,
    hindsight: row.hindsight,
  };
}

type Item = Evidence["items"][number];

function toItem(row: Counted): Item {
  const { as_predicted, better, worse, cannot_tell, trials } = row;
  const of = (count: number) => count / trials;
  return {
    mode: row.mode,
    subject: row.subject,
    trials,
    verdicts: { as_predicted, better, worse, cannot_tell },
    shares: {
      as_predicted: of(as_predicted),
      better: of(better),
      worse: of(worse),
      cannot_tell: of(cannot_tell),
    },
    takenBack: row.taken_back,
    predictedGainShare: row.predicted_gain,
    observedGainShare: row.observed_gain,
    compared: row.compared,
    hindsight: row.subject === "move" ? null : hindsightOf(row),
  };
}

function hindsightOf(row: Counted): Item["hindsight"] {
  const { would_have_helped, would_not, hindsight_unknown: cannot_tell, hindsight_gain: gainShare } = row;
  return { would_have_helped, would_not, cannot_tell, gainShare };
}

function evidenceWords(items: readonly Item[], hours: number): string {
  if (items.length === 0) return `Nothing was tried in the last ${hours} h.`;
  return items.map(itemWords).join(" ");
}

function itemWords({ mode, subject, trials, verdicts, takenBack, hindsight }: Item): string {
  const { as_predicted, better, worse, cannot_tell } = verdicts;
  const counts = `${as_predicted} as predicted, ${better} better, ${worse} worse, ${cannot_tell} cannot be told`;
  if (subject === "move") return `Of ${trials} changes in mode ${mode}: ${counts}; ${takenBack} taken back.`;
  const stayed = `Of ${trials} predictions for staying in mode ${mode}: ${counts}.`;
  return hindsight ? `${stayed} ${hindsightWords(hindsight)}` : stayed;
}

function hindsightWords({
  would_have_helped,
  would_not,
  cannot_tell,
  gainShare,
}: NonNullable<Item["hindsight"]>) {
  const told = would_have_helped + would_not;
  const gain =
    gainShare === null
      ? ""
      : ` By the model ${told === 1 ? "the one" : `the ${told}`} of which it can be told would have gained ${tidy(gainShare * 100)} points${told === 1 ? "" : " in the mean"}.`;
  return (
    `Of the moves that were only recorded ${would_have_helped} would have helped and ${would_not} would not, ` +
    `and of ${cannot_tell} it cannot be told.${gain}`
  );
}
