import type { AuditEntry } from "@fulcrum/contracts/resources.js";
import type { Page } from "../api/types.js";
import { useLoad } from "../api/use-load.js";
import { TextField } from "../ui/fields.js";
import { timeText } from "../ui/format.js";
import { Curl, Empty, Loading, PageHead } from "../ui/parts.js";
import { setQuery, useAddress } from "../ui/router.js";
import { VerifyCard } from "./verify-card.js";
import "./audit.css";

const FILTERS = ["action", "subject", "actor"] as const;

export function AuditPage() {
  const { query } = useAddress();
  const asked = new URLSearchParams({ limit: "50" });
  for (const key of [...FILTERS, "cursor"]) {
    const value = query.get(key);
    if (value) asked.set(key, value);
  }
  const path = `/v1/audit?${asked.toString()}`;
  const { data, error } = useLoad<Page<AuditEntry>>(path);
  return (
    <>
      <PageHead title="Audit">
        <p className="quiet">who did what, newest first; each row is hashed together with the one before</p>
      </PageHead>
      <VerifyCard />
      <form className="filters" role="search" aria-label="Audit" onSubmit={(event) => event.preventDefault()}>
        {FILTERS.map((key) => (
          <TextField
            key={key}
            label={key[0]!.toUpperCase() + key.slice(1)}
            type="search"
            value={query.get(key) ?? ""}
            placeholder={{ action: "pool.update", subject: "pool/chat", actor: "name of a key" }[key]}
            onChange={(value) => setQuery({ [key]: value, cursor: null })}
          />
        ))}
        {query.get("cursor") && (
          <button type="button" onClick={() => setQuery({ cursor: null })}>
            Back to the newest
          </button>
        )}
      </form>
      {data ? <Entries page={data} /> : <Loading error={error} />}
      <Curl request={{ method: "GET", path }} />
    </>
  );
}

function Entries({ page }: { page: Page<AuditEntry> }) {
  if (page.items.length === 0) return <Empty>No row fits. Filters take whole values.</Empty>;
  return (
    <div className="wide">
      <table className="audit nowrap">
        <thead>
          <tr>
            <th scope="col" className="number">
              No.
            </th>
            <th scope="col">When</th>
            <th scope="col">Who</th>
            <th scope="col">What</th>
            <th scope="col">Of</th>
            <th scope="col">Before and after</th>
          </tr>
        </thead>
        <tbody>
          {page.items.map((entry) => (
            <Entry key={`${entry.seq} ${entry.hash}`} entry={entry} />
          ))}
        </tbody>
      </table>
      {page.nextCursor !== null && (
        <button type="button" onClick={() => setQuery({ cursor: page.nextCursor })}>
          Older
        </button>
      )}
    </div>
  );
}

function Entry({ entry }: { entry: AuditEntry }) {
  return (
    <tr>
      <td className="number">{entry.stored?.["seq"] ?? entry.seq}</td>
      <td>{Number.isNaN(Date.parse(entry.at)) ? entry.at : timeText(entry.at)}</td>
      <td>
        {entry.actor}
        {entry.address && <small className="quiet"> {entry.address}</small>}
      </td>
      <td>{entry.action}</td>
      <td>{entry.subject}</td>
      <td>
        <details>
          <summary className="quiet">{entry.before === null ? "what was made" : "before and after"}</summary>
          {entry.before !== null && <pre>{JSON.stringify(entry.before, null, 1)}</pre>}
          <pre>{JSON.stringify(entry.after, null, 1)}</pre>
          {entry.stored && <pre>as stored: {JSON.stringify(entry.stored, null, 1)}</pre>}
          <small className="quiet">hash {entry.hash}</small>
        </details>
      </td>
    </tr>
  );
}
