import type { DecisionResource } from "@fulcrum/contracts/resources.js";
import type { Decision, Snapshot } from "@fulcrum/core/decision.js";
import { useEvents } from "../api/live.js";
import { useLoad } from "../api/use-load.js";
import { allocationText, timeText, wordsOf } from "../ui/format.js";
import { Age, Curl, Loading, PageHead } from "../ui/parts.js";
import { instancePath, Link, poolPath } from "../ui/router.js";
import { Candidates } from "./candidates.js";
import { deedWords } from "./decision-table.js";
import { Outcome } from "./outcome.js";
import { Rollout } from "./rollout.js";
import { Seen } from "./seen.js";
import "./decision.css";

export function DecisionPage({ id }: { id: string }) {
  const path = `/v1/decisions/${encodeURIComponent(id)}`;
  const { data: row, error, reload } = useLoad<DecisionResource>(path);
  useEvents((event) => {
    if (event === "rollout" || event === "proposal" || event === "reset") reload();
  });
  if (!row) return <Loading error={error} />;
  // Any part may be missing in a row that another version wrote.
  const decided = row.decision as Partial<Decision>;
  const seen = row.snapshot as Partial<Snapshot>;
  return (
    <>
      <PageHead title={`Decision: ${deedWords(row)}`}>
        <p>
          <Link to={instancePath(row.instance)}>{row.instance}</Link> in{" "}
          <Link to={poolPath(row.pool)}>{row.pool}</Link> · <Age at={row.at} />{" "}
          <span className="quiet">({timeText(row.at)})</span>
        </p>
      </PageHead>
      <p className="sentence">{row.message}</p>
      <div className="columns">
        <Seen
          slo={seen.slo ?? null}
          observed={decided.observed ?? null}
          predicted={row.predicted}
          kind={row.kind}
        />
        <Facts row={row} seen={seen} decided={decided} />
      </div>
      <Candidates decided={decided} slo={seen.slo ?? null} current={seen.current ?? null} />
      <Rollout row={row} />
      <Outcome trial={row.trial ?? null} />
      <Curl request={{ method: "GET", path }} />
    </>
  );
}

function Facts({
  row,
  seen,
  decided,
}: {
  row: DecisionResource;
  seen: Partial<Snapshot>;
  decided: Partial<Decision>;
}) {
  const wanted = decided.wanted ?? null;
  const guards = decided.guards ?? [];
  return (
    <section className="card" aria-label="What was decided">
      <h2>What was decided</h2>
      <dl className="facts">
        <dt>Reason</dt>
        <dd>{wordsOf(row.reason)}</dd>
        <dt>From</dt>
        <dd>
          {seen.current ? allocationText(seen.current) : "–"}{" "}
          <span className="quiet">(generation {row.basedOnGeneration})</span>
        </dd>
        {wanted && (
          <>
            <dt>Policy wanted</dt>
            <dd>{allocationText(wanted)}</dd>
          </>
        )}
        {guards.map(({ guard, from, to }) => (
          <Cut key={guard} guard={guard} from={allocationText(from)} to={allocationText(to)} />
        ))}
        <dt>{row.outcome === "applied" ? "To" : "Decided"}</dt>
        <dd>
          {allocationText(row.allocation)}
          {row.generation !== null && <span className="quiet"> (generation {row.generation})</span>}
        </dd>
        <dt>Policy</dt>
        <dd>
          {row.policy.name}, version {row.policy.version}; mode {row.mode}
        </dd>
        {guards.length === 0 && (
          <>
            <dt>Guards</dt>
            <dd>cut nothing</dd>
          </>
        )}
      </dl>
    </section>
  );
}

function Cut({ guard, from, to }: { guard: string; from: string; to: string }) {
  return (
    <>
      <dt>{guard} guard</dt>
      <dd>
        cut <s>{from}</s> to {to}
      </dd>
    </>
  );
}
