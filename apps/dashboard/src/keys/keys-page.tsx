import type { ApiKey, CreatedKey } from "@fulcrum/contracts/resources.js";
import { useState } from "react";
import { useLoad } from "../api/use-load.js";
import { ActionButton, ActionDialog } from "../ui/action-dialog.js";
import { SelectField, TextField } from "../ui/fields.js";
import { Age, Loading, PageHead, Table, Tag } from "../ui/parts.js";
import { ShowOnce } from "../ui/show-once.js";

const ROLES = [
  ["viewer", "viewer: reads"],
  ["operator", "operator: changes pools, holds, approves"],
  ["admin", "admin: also manages keys"],
  ["agent", "agent: speaks for engines only"],
] as const;

export function KeysPage() {
  const { data, error, reload } = useLoad<{ items: readonly ApiKey[] }>("/v1/keys");
  const [open, setOpen] = useState(false);
  const [made, setMade] = useState<CreatedKey | null>(null);
  const done = (answer: unknown) => {
    setOpen(false);
    setMade(answer as CreatedKey);
    reload();
  };
  return (
    <>
      <PageHead title="API keys">
        <button type="button" className="primary" onClick={() => setOpen(true)}>
          Create a key
        </button>
      </PageHead>
      {data ? <KeyTable items={data.items} onChange={reload} /> : <Loading error={error} />}
      {open && <CreateDialog onDone={done} onClose={() => setOpen(false)} />}
      {made && <ShowOnce title={`Key for ${made.name}`} text={made.key} onClose={() => setMade(null)} />}
    </>
  );
}

function CreateDialog({ onDone, onClose }: { onDone: (answer: unknown) => void; onClose: () => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState<string>("viewer");
  const [agent, setAgent] = useState("");
  const body = { name, role, ...(role === "agent" && agent !== "" ? { agent } : {}) };
  return (
    <ActionDialog
      title="Create a key"
      explain="The key is shown once; the controller keeps only its hash."
      verb="Create"
      request={{ method: "POST", path: "/v1/keys", body }}
      onDone={onDone}
      onClose={onClose}
    >
      <TextField label="Name" value={name} onChange={setName} required placeholder="who or what uses it" />
      <SelectField label="Role" value={role} onChange={setRole} options={ROLES} />
      {role === "agent" && (
        <TextField label="Agent" value={agent} onChange={setAgent} hint="binds it to one agent; empty: any" />
      )}
    </ActionDialog>
  );
}

function KeyTable({ items, onChange }: { items: readonly ApiKey[]; onChange: () => void }) {
  return (
    <Table heads={["Name", "Role", "Made", "Last used", "State", { hidden: "Action" }]}>
      {items.map((key) => (
        <tr key={key.id}>
          <th scope="row">{key.name}</th>
          <td>
            {key.role}
            {key.agent && ` of ${key.agent}`}
          </td>
          <td>
            <Age at={key.createdAt} /> <span className="quiet">by {key.createdBy}</span>
          </td>
          <td>{key.lastUsedAt ? <Age at={key.lastUsedAt} /> : "never"}</td>
          <td>{key.revokedAt ? <Tag tone="quiet">revoked</Tag> : <Tag tone="good">in use</Tag>}</td>
          <td className="number">
            {key.revokedAt === null && <RevokeButton apiKey={key} onDone={onChange} />}
          </td>
        </tr>
      ))}
    </Table>
  );
}

function RevokeButton({ apiKey, onDone }: { apiKey: ApiKey; onDone: () => void }) {
  return (
    <ActionButton
      label="Revoke"
      title={`Revoke the key of ${apiKey.name}`}
      explain="Whoever uses it is refused from now on. It cannot be undone."
      verb="Revoke"
      danger
      request={{ method: "DELETE", path: `/v1/keys/${apiKey.id}` }}
      onDone={onDone}
    />
  );
}
