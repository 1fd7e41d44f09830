import type { Delivery, DeliveryState } from "@fulcrum/contracts/webhooks.js";
import { useState } from "react";
import type { Page } from "../api/types.js";
import { useEvery, useLoad } from "../api/use-load.js";
import { ActionButton } from "../ui/action-dialog.js";
import { SelectField } from "../ui/fields.js";
import { Age, Curl, Loading, Table, Tag, type Tone } from "../ui/parts.js";

const RELOAD_MS = 10_000;
const TONES: Readonly<Record<DeliveryState, Tone>> = { pending: "quiet", delivered: "good", dead: "bad" };
const STATES = [
  ["", "all"],
  ["dead", "given up (dead letters)"],
  ["pending", "waiting"],
  ["delivered", "delivered"],
] as const;

/** What was sent, what waits, and what was given up and only a person sends again. */
export function Deliveries() {
  const [state, setState] = useState("");
  const filter = new URLSearchParams({ limit: "30", ...(state === "" ? {} : { state }) });
  const path = `/v1/deliveries?${filter.toString()}`;
  const { data, error, reload } = useLoad<Page<Delivery>>(path);
  useEvery(RELOAD_MS, reload);
  return (
    <section className="card" aria-label="Deliveries">
      <h2>Deliveries</h2>
      <div className="filters">
        <SelectField label="State" value={state} options={STATES} onChange={setState} />
      </div>
      {data ? <DeliveryTable items={data.items} onChange={reload} /> : <Loading error={error} />}
      <Curl request={{ method: "GET", path }} />
    </section>
  );
}

function DeliveryTable({ items, onChange }: { items: readonly Delivery[]; onChange: () => void }) {
  if (items.length === 0) return <p className="quiet">None.</p>;
  return (
    <Table heads={["State", "Event", "Target", "Tries", "Made", { hidden: "Action" }]}>
      {items.map((one) => (
        <tr key={one.id}>
          <td>
            <Tag tone={TONES[one.state]}>{one.state === "dead" ? "given up" : one.state}</Tag>
            {one.state !== "delivered" && <Failure delivery={one} />}
          </td>
          <th scope="row">{one.event}</th>
          <td className="long-word">{one.url}</td>
          <td>
            {one.tries}
            {one.nextTryAt && (
              <span className="quiet">
                , next <Age at={one.nextTryAt} />
              </span>
            )}
          </td>
          <td>
            <Age at={one.createdAt} />
          </td>
          <td className="number">
            {one.state === "dead" && <RetryButton delivery={one} onDone={onChange} />}
          </td>
        </tr>
      ))}
    </Table>
  );
}

function Failure({ delivery: { lastStatus, lastError } }: { delivery: Delivery }) {
  if (lastStatus === null && lastError === null) return null;
  return (
    <small className="quiet">
      {" "}
      {lastStatus !== null && `answered ${lastStatus} `}
      {lastError}
    </small>
  );
}

function RetryButton({ delivery, onDone }: { delivery: Delivery; onDone: () => void }) {
  return (
    <ActionButton
      label="Send again"
      title={`Send ${delivery.event} again`}
      explain={`It was given up after ${delivery.tries} tries. It is sent now with the same id, so that the target can tell it from a new one.`}
      verb="Send again"
      request={{ method: "POST", path: `/v1/deliveries/${delivery.id}/retry` }}
      onDone={onDone}
    />
  );
}
