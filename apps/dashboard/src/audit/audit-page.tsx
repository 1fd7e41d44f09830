import type { ChainReport } from "@fulcrum/contracts/audit-chain.js";
import type { AuditEntry } from "@fulcrum/contracts/resources.js";
import { useEffect, useRef, useState } from "react";
import type { Page } from "../api/types.js";
import { useLoad } from "../api/use-load.js";
import { TextField } from "../ui/fields.js";
import { timeText } from "../ui/format.js";
import { Curl, Empty, Loading, PageHead, Tag } from "../ui/parts.js";
import { setQuery, useAddress } from "../ui/router.js";
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
        <p className="quiet">who did what, newest first; nothing here can be changed or taken away unseen</p>
      </PageHead>
      <Verify />
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
            <Entry key={entry.seq} entry={entry} />
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
      <td className="number">{entry.seq}</td>
      <td>{timeText(entry.at)}</td>
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
          <small className="quiet">hash {entry.hash}</small>
        </details>
      </td>
    </tr>
  );
}

type State =
  | { readonly kind: "idle" }
  | { readonly kind: "reading"; readonly rows: number }
  | { readonly kind: "done"; readonly report: ChainReport }
  | { readonly kind: "failed"; readonly why: string };

function Verify() {
  const [state, setState] = useState<State>({ kind: "idle" });
  const stop = useRef<AbortController | null>(null);
  useEffect(() => () => stop.current?.abort(), []);
  const start = () => {
    const mine = new AbortController();
    stop.current = mine;
    setState({ kind: "reading", rows: 0 });
    // Its schemas are not needed before.
    import("./verify.js")
      .then(({ verifyHere }) => verifyHere((rows) => setState({ kind: "reading", rows }), mine.signal))
      .then((report) => setState({ kind: "done", report }))
      .catch((error: unknown) => {
        if (!mine.signal.aborted)
          setState({ kind: "failed", why: error instanceof Error ? error.message : String(error) });
      });
  };
  return (
    <section className="card" aria-label="Chain of hashes">
      <div className="buttons">
        <button type="button" className="primary" onClick={start} disabled={state.kind === "reading"}>
          Verify the chain
        </button>
        <span role="status">
          <VerifyWords state={state} />
        </span>
      </div>
      {state.kind === "done" && state.report.faults.length > 0 && (
        <ul className="problem">
          {state.report.faults.map((fault) => (
            <li key={`${fault.seq} ${fault.kind}`}>{fault.message}</li>
          ))}
        </ul>
      )}
    </section>
  );
}

function VerifyWords({ state }: { state: State }) {
  if (state.kind === "idle")
    return (
      <span className="quiet">
        Reads every row and hashes it in this browser; the controller is not asked.
      </span>
    );
  if (state.kind === "reading") return <>{state.rows.toLocaleString("en")} rows read …</>;
  if (state.kind === "failed") return <Tag tone="bad">could not be checked: {state.why}</Tag>;
  const { rows, first, last, faultCount } = state.report;
  if (faultCount > 0)
    return (
      <Tag tone="bad">
        {faultCount} {faultCount === 1 ? "fault" : "faults"} in {rows} rows
      </Tag>
    );
  return (
    <Tag tone="good">
      {rows} rows, {first} to {last?.seq}: unchanged and complete; the last hash is {last?.hash.slice(0, 12)}…
    </Tag>
  );
}
