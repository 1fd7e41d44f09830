import { useEffect, useMemo, useRef, useState } from "react";
import type { Alert } from "@fulcrum/contracts/budgets.js";
import type { Pool } from "@fulcrum/contracts/pools.js";
import { useConnection } from "../api/live.js";
import type { Page } from "../api/types.js";
import { useEvery, useLoad } from "../api/use-load.js";
import { PauseButton } from "../approvals/pause-dialog.js";
import { HeldLine } from "../approvals/held-line.js";
import { SelectField, TextField } from "../ui/fields.js";
import { Empty, Loading, PageHead, Problem } from "../ui/parts.js";
import { Link, setQuery, useAddress } from "../ui/router.js";
import { FleetTable } from "./fleet-table.js";
import { arrange, type FleetFilter, type Judged, type SortKey, summaryOf } from "./fleet-view.js";
import { useFleet } from "./use-fleet.js";

/** The order is made anew this often, so that rows do not jump under the pointer with every window. */
const ORDER_MS = 5_000;

const SORTS: readonly (readonly [SortKey, string])[] = [
  ["worst", "those that miss first"],
  ["name", "name"],
  ["pool", "pool"],
  ["attainment", "lowest attainment"],
  ["ttft", "highest TTFT"],
  ["tpot", "highest TPOT"],
  ["kv", "fullest KV cache"],
  ["decided", "last decision"],
];

const STATES = [
  ["", "any state"],
  ["misses", "misses its SLO"],
  ["attention", "needs a look"],
  ["silent", "no signal"],
  ["meets", "meets its SLO"],
  ["paused", "held"],
] as const;

export function FleetPage() {
  const fleet = useFleet();
  const filter = useFilter();
  const rows = useOrder(fleet.items, filter);
  if (!fleet.loaded) return <Loading error={fleet.error} />;
  return (
    <div className="fleet">
      <Summary items={fleet.items} />
      <HeldLine />
      {fleet.error && <Problem error={fleet.error} />}
      {fleet.isCut && (
        <p className="problem">Only the first 5,000 instances are shown; filter on the API for more.</p>
      )}
      <Filters filter={filter} items={fleet.items} shown={rows.length} />
      {rows.length > 0 ? <FleetTable rows={rows} /> : <NothingThere isEmpty={fleet.items.length === 0} />}
    </div>
  );
}

function NothingThere({ isEmpty }: { isEmpty: boolean }) {
  if (!isEmpty) return <Empty>No instance fits this filter.</Empty>;
  return (
    <Empty>
      No instance has registered yet. Make a pool (<code>fulcrum pools create</code>) and start an agent
      beside an engine (<code>fulcrum agent</code>).
    </Empty>
  );
}

function useFilter(): FleetFilter {
  const { query } = useAddress();
  const sort = query.get("sort") as SortKey | null;
  return {
    text: query.get("q") ?? "",
    pool: query.get("pool") ?? "",
    state: (query.get("state") ?? "") as FleetFilter["state"],
    sort: SORTS.some(([key]) => key === sort) ? sort! : "worst",
  };
}

/** The rows in order: numbers are always the newest, the order is a few seconds old. */
function useOrder(items: readonly Judged[], { text, pool, state, sort }: FleetFilter): readonly Judged[] {
  const [turn, setTurn] = useState(0);
  const latest = useRef(items);
  latest.current = items;
  useEffect(() => {
    const timer = setInterval(() => setTurn((value) => value + 1), ORDER_MS);
    return () => clearInterval(timer);
  }, []);
  const count = items.length;
  const order = useMemo(
    () => arrange(latest.current, { text, pool, state, sort }).map(({ item }) => item.instance.name),
    // oxlint-disable-next-line react-hooks/exhaustive-deps -- by the clock, not by the window
    [text, pool, state, sort, turn, count],
  );
  return useMemo(() => {
    const byName = new Map(items.map((one) => [one.item.instance.name, one]));
    return order.map((name) => byName.get(name)).filter((one) => one !== undefined);
  }, [items, order]);
}

function Summary({ items }: { items: readonly Judged[] }) {
  const { total, misses, silent, held } = useMemo(() => summaryOf(items), [items]);
  const connection = useConnection();
  return (
    <PageHead title="Fleet">
      <p className="summary">
        <b>{total}</b> {total === 1 ? "instance" : "instances"},{" "}
        <button type="button" className="as-text" onClick={() => setQuery({ state: "misses" })}>
          <b className={misses > 0 ? "ink-bad" : ""}>{misses === 0 ? "none" : misses}</b>{" "}
          {misses === 1 ? "misses its SLO" : "miss their SLO"}
        </button>
        {silent > 0 && <>, {silent} without a signal</>}
        {held > 0 && <>, {held} held</>}
        <Firing />
        {connection === "lost" && (
          <b className="ink-bad"> · numbers stand still until the connection is back</b>
        )}
      </p>
      <PauseButton scope={{}} label="Pause all" />
    </PageHead>
  );
}

const ALERTS_MS = 15_000;

/** Pools that spend their error budget too fast: said here, told on the page of alerts. */
function Firing() {
  const { data, reload } = useLoad<Page<Alert>>("/v1/alerts?state=firing&limit=100");
  useEvery(ALERTS_MS, reload);
  const count = data?.items.length ?? 0;
  if (count === 0) return null;
  return (
    <>
      ,{" "}
      <Link to="/alerts?state=firing">
        {count} {count === 1 ? "alert fires" : "alerts fire"}
      </Link>
    </>
  );
}

function Filters({ filter, items, shown }: { filter: FleetFilter; items: readonly Judged[]; shown: number }) {
  const { data } = useLoad<{ items: readonly Pool[] }>("/v1/pools");
  const pools = (data?.items ?? []).map(({ name }) => [name, name] as const);
  return (
    <form
      className="filters"
      role="search"
      aria-label="Instances"
      onSubmit={(event) => event.preventDefault()}
    >
      <TextField
        label="Find"
        type="search"
        value={filter.text}
        placeholder="name, pool, node, condition"
        onChange={(q) => setQuery({ q })}
      />
      <SelectField
        label="Pool"
        value={filter.pool}
        options={[["", "any pool"], ...pools]}
        onChange={(pool) => setQuery({ pool })}
      />
      <SelectField
        label="State"
        value={filter.state}
        options={STATES}
        onChange={(state) => setQuery({ state })}
      />
      <SelectField
        label="Order"
        value={filter.sort}
        options={SORTS}
        onChange={(sort) => setQuery({ sort: sort === "worst" ? null : sort })}
      />
      <span className="quiet">
        {shown === items.length ? `${shown} shown` : `${shown} of ${items.length} shown`}
      </span>
    </form>
  );
}
