import type { Alert } from "@fulcrum/contracts/budgets.js";
import { useState } from "react";
import type { Page } from "../api/types.js";
import { useEvery, useLoad } from "../api/use-load.js";
import { SelectField } from "../ui/fields.js";
import { Age, Curl, Empty, Loading, PageHead, Table, Tag } from "../ui/parts.js";
import { Link, poolPath, setQuery, useAddress } from "../ui/router.js";
import { Deliveries } from "./deliveries.js";
import { Webhooks } from "./webhooks.js";

const RELOAD_MS = 15_000;
const STATES = [
  ["", "all"],
  ["firing", "firing"],
  ["resolved", "resolved"],
] as const;

/** What fires, who is told of it, and what could not be told. */
export function AlertsPage() {
  // Deliveries are read again when a webhook is tested or removed, and the other way round.
  const [turn, setTurn] = useState(0);
  const changed = () => setTurn((value) => value + 1);
  return (
    <>
      <PageHead title="Alerts and webhooks" />
      <Alerts />
      <Webhooks onChange={changed} />
      <Deliveries key={turn} />
    </>
  );
}

function Alerts() {
  const { query } = useAddress();
  const state = query.get("state") ?? "";
  const filter = new URLSearchParams({ limit: "50", ...(state === "" ? {} : { state }) });
  const path = `/v1/alerts?${filter.toString()}`;
  const { data, error, reload } = useLoad<Page<Alert>>(path);
  useEvery(RELOAD_MS, reload);
  return (
    <section className="card" aria-label="Alerts">
      <h2>Alerts</h2>
      <div className="filters">
        <SelectField
          label="State"
          value={state}
          options={STATES}
          onChange={(next) => setQuery({ state: next })}
        />
      </div>
      {data ? <AlertTable items={data.items} /> : <Loading error={error} />}
      <Curl request={{ method: "GET", path }} />
    </section>
  );
}

function AlertTable({ items }: { items: readonly Alert[] }) {
  if (items.length === 0)
    return <Empty>None. An alert fires when a pool spends its error budget too fast.</Empty>;
  return (
    <Table heads={["State", "Pool", "What", "Began", "Ended"]}>
      {items.map((alert) => (
        <tr key={alert.id}>
          <td>
            <Tag tone={alert.endedAt ? "quiet" : alert.severity === "page" ? "bad" : "warn"}>
              {alert.endedAt ? "resolved" : `${alert.severity} fires`}
            </Tag>
          </td>
          <th scope="row">
            <Link to={poolPath(alert.pool)}>{alert.pool}</Link>
          </th>
          <td>
            <span className="message">{alert.message}</span>
          </td>
          <td>
            <Age at={alert.startedAt} />
          </td>
          <td>{alert.endedAt ? <Age at={alert.endedAt} /> : "–"}</td>
        </tr>
      ))}
    </Table>
  );
}
