import type { CreatedWebhook, Delivery, Webhook } from "@fulcrum/contracts/webhooks.js";
import { useState } from "react";
import { useLoad } from "../api/use-load.js";
import { ActionButton, ActionDialog } from "../ui/action-dialog.js";
import { TextField } from "../ui/fields.js";
import { Age, Loading, Table, Tag } from "../ui/parts.js";
import { ShowOnce } from "../ui/show-once.js";

/** The names of WEBHOOK_EVENTS in the contracts; what the controller does not know it refuses. */
const EVENTS = [
  ["alert.firing", "an alert fires"],
  ["alert.resolved", "an alert is over"],
  ["instance.degraded", "an instance holds still and asks for a person"],
  ["proposal.opened", "a proposal waits"],
  ["rollout.rolled_back", "a move was taken back"],
  ["rollout.failed", "a move failed"],
  ["pool.changed", "a pool was changed"],
  ["slo.changed", "an SLO was changed"],
] as const satisfies readonly (readonly [Webhook["events"][number], string])[];

export function Webhooks({ onChange }: { onChange: () => void }) {
  const { data, error, reload } = useLoad<{ items: readonly Webhook[] }>("/v1/webhooks");
  const [open, setOpen] = useState(false);
  const [made, setMade] = useState<CreatedWebhook | null>(null);
  const done = (answer: unknown) => {
    setOpen(false);
    setMade(answer as CreatedWebhook);
    reload();
  };
  const changed = () => {
    reload();
    onChange();
  };
  return (
    <section className="card" aria-label="Webhooks">
      <h2>Webhooks</h2>
      {data ? <WebhookTable items={data.items} onChange={changed} /> : <Loading error={error} />}
      {data && (
        <div className="buttons">
          <button type="button" className="primary" onClick={() => setOpen(true)}>
            Add a webhook
          </button>
        </div>
      )}
      {open && <AddDialog onDone={done} onClose={() => setOpen(false)} />}
      {made && <ShowOnce title={`Secret of ${made.url}`} text={made.secret} onClose={() => setMade(null)} />}
    </section>
  );
}

function WebhookTable({ items, onChange }: { items: readonly Webhook[]; onChange: () => void }) {
  if (items.length === 0) return <p className="quiet">Nobody is told of anything yet.</p>;
  return (
    <Table heads={["Target", "Told of", "Pool", "Added", { hidden: "Action" }]}>
      {items.map((one) => (
        <tr key={one.id}>
          <th scope="row" className="long-word">
            {one.url}
            {one.disabledAt && (
              <>
                {" "}
                <Tag tone="bad">answered 410 Gone: nothing is sent</Tag>
              </>
            )}
          </th>
          <td>{one.events.length === EVENTS.length ? "everything" : one.events.join(", ")}</td>
          <td>{one.pool ?? "all"}</td>
          <td>
            <Age at={one.createdAt} /> <span className="quiet">by {one.createdBy}</span>
          </td>
          <td>
            <div className="buttons">
              <TestButton webhook={one} onDone={onChange} />
              <RemoveButton webhook={one} onDone={onChange} />
            </div>
          </td>
        </tr>
      ))}
    </Table>
  );
}

function AddDialog({ onDone, onClose }: { onDone: (answer: unknown) => void; onClose: () => void }) {
  const [url, setUrl] = useState("");
  const [pool, setPool] = useState("");
  const [events, setEvents] = useState<ReadonlySet<string>>(new Set(["alert.firing", "alert.resolved"]));
  const toggle = (event: string) => {
    const next = new Set(events);
    if (!next.delete(event)) next.add(event);
    setEvents(next);
  };
  const body = {
    url,
    events: EVENTS.map(([event]) => event).filter((event) => events.has(event)),
    ...(pool === "" ? {} : { pool }),
  };
  return (
    <ActionDialog
      title="Add a webhook"
      explain="Messages are signed as Standard Webhooks say. The secret to check them with is shown once."
      verb="Add"
      request={
        body.events.length === 0
          ? "Tick at least one thing to be told of."
          : { method: "POST", path: "/v1/webhooks", body }
      }
      onDone={onDone}
      onClose={onClose}
    >
      <TextField
        label="URL"
        value={url}
        onChange={setUrl}
        required
        placeholder="https://hooks.example.com/fulcrum"
      />
      <TextField label="Pool" value={pool} onChange={setPool} placeholder="all of them" />
      <fieldset>
        <legend>Told when</legend>
        {EVENTS.map(([event, words]) => (
          <label key={event} className="check">
            <input type="checkbox" checked={events.has(event)} onChange={() => toggle(event)} /> {words}{" "}
            <code className="quiet">{event}</code>
          </label>
        ))}
      </fieldset>
    </ActionDialog>
  );
}

interface ButtonProps {
  readonly webhook: Webhook;
  readonly onDone: () => void;
}

function TestButton({ webhook, onDone }: ButtonProps) {
  const [open, setOpen] = useState(false);
  const [told, setTold] = useState<Delivery | null>(null);
  const close = () => {
    setOpen(false);
    setTold(null);
    if (told) onDone();
  };
  return (
    <>
      <button type="button" className="small" onClick={() => setOpen(true)}>
        Test
      </button>
      {open && (
        <ActionDialog
          title={`Send a test to ${webhook.url}`}
          explain="One message webhook.test is sent now, once, and what came of it is told here."
          verb="Send"
          request={{ method: "POST", path: `/v1/webhooks/${webhook.id}/test` }}
          result={told && <Came delivery={told} />}
          onDone={(answer) => setTold(answer as Delivery)}
          onClose={close}
        />
      )}
    </>
  );
}

function Came({ delivery }: { delivery: Delivery }) {
  return (
    <p role="status">
      <Tag tone={delivery.state === "delivered" ? "good" : "bad"}>{delivery.state}</Tag>{" "}
      {delivery.lastStatus !== null && `The target answered ${delivery.lastStatus}.`} {delivery.lastError}
    </p>
  );
}

function RemoveButton({ webhook, onDone }: ButtonProps) {
  return (
    <ActionButton
      label="Remove"
      title={`Remove ${webhook.url}`}
      explain="Nothing is sent there any more, and what still waits for it is dropped."
      verb="Remove"
      danger
      request={{ method: "DELETE", path: `/v1/webhooks/${webhook.id}` }}
      onDone={onDone}
    />
  );
}
