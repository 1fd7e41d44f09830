import type { Instance } from "@fulcrum/contracts/resources.js";
import { useEvents } from "../api/live.js";
import { useLoad } from "../api/use-load.js";
import { HeldLine } from "../approvals/held-line.js";
import { SplitBar } from "../charts/split-bar.js";
import { DecisionTable } from "../decision/decision-table.js";
import { allocationText, spanText, wordsOf } from "../ui/format.js";
import { Age, Loading, PageHead, Problem, Tag } from "../ui/parts.js";
import { Link, poolPath } from "../ui/router.js";
import { MOVES } from "../fleet/fleet-view.js";
import { InstanceActions } from "./instance-actions.js";
import { InstanceCharts } from "./instance-charts.js";
import { RANGES, useRange, useSeries } from "./use-series.js";
import "./instance.css";

export function InstancePage({ name }: { name: string }) {
  const path = `/v1/instances/${encodeURIComponent(name)}`;
  const { data: instance, error, reload } = useLoad<Instance>(path);
  useEvents((event) => {
    if (event !== "window" && event !== "position") reload();
  });
  if (!instance) return <Loading error={error} />;
  return (
    <>
      <PageHead title={instance.name}>
        <p>
          in <Link to={poolPath(instance.pool)}>{instance.pool}</Link>, mode {instance.mode}
        </p>
        <InstanceActions instance={instance} onDone={reload} />
      </PageHead>
      {error && <Problem error={error} />}
      <HeldLine scope={{ instance: instance.name }} />
      <Now instance={instance} />
      <Charts name={name} />
      <section className="card" aria-label="Decisions">
        <h2>
          Latest decisions{" "}
          <small>
            <Link to={`/decisions?instance=${encodeURIComponent(name)}`}>all of them</Link>
          </small>
        </h2>
        <DecisionTable query={{ instance: name, limit: "12" }} />
      </section>
    </>
  );
}

function Now({ instance }: { instance: Instance }) {
  const { lastDecision, conditions } = instance;
  return (
    <section className="card now" aria-label="Now">
      {lastDecision ? (
        <p className="sentence">
          <Link to={`/decisions/${lastDecision.id}`}>
            {lastDecision.kind === "move" ? MOVES[instance.mode] : "Held"}
          </Link>{" "}
          <Age at={lastDecision.at} />: {lastDecision.message}
        </p>
      ) : (
        <p className="sentence">Nothing was decided yet.</p>
      )}
      <div className="now-row">
        <SplitBar asked={instance.desired} delivered={instance.observed} />
        <dl className="facts">
          <dt>Asked</dt>
          <dd>
            {allocationText(instance.desired)}{" "}
            <span className="quiet">(generation {instance.desired.generation})</span>
          </dd>
          <dt>Delivered</dt>
          <dd>{instance.observed ? allocationText(instance.observed) : "not read back"}</dd>
          <dt>Last windows</dt>
          <dd>{instance.lastWindowAt ? <Age at={instance.lastWindowAt} /> : "none yet"}</dd>
          <dt>Reversals</dt>
          <dd>
            <Flaps flaps={instance.flaps} />
          </dd>
          <dt>Agents</dt>
          <dd>{instance.agents.join(", ")}</dd>
        </dl>
        <div>
          {instance.rollout && <p>Switching now: {wordsOf(instance.rollout)}</p>}
          {conditions.length === 0 && <Tag tone="good">no conditions</Tag>}
          {conditions.map((condition) => (
            <p key={condition}>
              <Tag tone="warn">{wordsOf(condition)}</Tag>
            </p>
          ))}
        </div>
      </div>
      {instance.bucketWarnings.map((warning) => (
        <p key={warning} className="quiet">
          {warning}
        </p>
      ))}
    </section>
  );
}

/** How often it may still turn round before it is held still. */
function Flaps({ flaps: { used, budget, windowMs } }: Pick<Instance, "flaps">) {
  const words = `${used} of ${budget} allowed within ${spanText(windowMs)}`;
  return used >= budget ? <Tag tone="warn">{words}: none is left</Tag> : words;
}

function Charts({ name }: { name: string }) {
  const { range, setSpan, zoom, follow } = useRange();
  const { data, error } = useSeries(name, range, follow);
  return (
    <section className="card" aria-label="Charts">
      <div className="buttons chart-head">
        <h2>Over time</h2>
        {RANGES.map(([spanMs, label]) => (
          <button
            key={spanMs}
            type="button"
            className="small"
            aria-pressed={!range.isZoomed && range.spanMs === spanMs}
            onClick={() => setSpan(spanMs)}
          >
            {label}
          </button>
        ))}
        {range.isZoomed ? (
          <button type="button" className="small primary" onClick={() => setSpan(range.spanMs)}>
            Back to live
          </button>
        ) : (
          <span className="quiet">drag over a chart to zoom</span>
        )}
      </div>
      {error && <Problem error={error} />}
      {data && <InstanceCharts series={data} range={range} onZoom={zoom} />}
    </section>
  );
}
