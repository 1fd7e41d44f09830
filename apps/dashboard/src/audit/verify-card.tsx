import { useEffect, useId, useRef, useState } from "react";
import { Tag } from "../ui/parts.js";
import type { CheckedChain } from "./verify.js";

/** Far above any file of checkpoints. */
const MAX_FILE_CHARS = 100_000;

type State =
  | { readonly kind: "idle" }
  | { readonly kind: "reading"; readonly rows: number }
  | { readonly kind: "done"; readonly report: CheckedChain }
  | { readonly kind: "failed"; readonly why: string };

export function VerifyCard() {
  const [state, setState] = useState<State>({ kind: "idle" });
  const [checkpoints, setCheckpoints] = useState("");
  const stop = useRef<AbortController | null>(null);
  useEffect(() => () => stop.current?.abort(), []);
  const start = () => {
    const mine = new AbortController();
    stop.current = mine;
    setState({ kind: "reading", rows: 0 });
    // Its schemas are not needed before.
    import("./verify.js")
      .then(({ verifyHere }) =>
        verifyHere(checkpoints, (rows) => setState({ kind: "reading", rows }), mine.signal),
      )
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
      {state.kind === "done" && <Findings report={state.report} />}
      <Checkpoints value={checkpoints} onChange={setCheckpoints} />
    </section>
  );
}

function Checkpoints({ value, onChange }: { value: string; onChange: (text: string) => void }) {
  const id = useId();
  return (
    <details className="checkpoints">
      <summary>With a checkpoint that was kept elsewhere</summary>
      <p className="quiet">
        Rows cut off the end, or a log written anew, show against a checkpoint only: what this page or{" "}
        <code>fulcrum audit checkpoint</code> gave earlier, kept where nobody who can write the database can
        write.
      </p>
      <label htmlFor={id}>Checkpoints, as JSON</label>
      <textarea
        id={id}
        rows={3}
        spellCheck={false}
        value={value}
        placeholder='{"seq":192,"hash":"…"}'
        onChange={(event) => onChange(event.target.value)}
      />
      <label>
        or from a file{" "}
        <input
          type="file"
          accept=".json,.jsonl,application/json"
          onChange={(event) => {
            const file = event.target.files?.[0];
            void file?.slice(0, MAX_FILE_CHARS).text().then(onChange);
          }}
        />
      </label>
    </details>
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
  const { rows, first, last, faultCount, checked, unchecked } = state.report;
  if (faultCount > 0)
    return (
      <Tag tone="bad">
        {faultCount} {faultCount === 1 ? "fault" : "faults"} in {rows} rows
      </Tag>
    );
  if (last === null) return <>The log is empty.</>;
  const span = `${rows} rows, ${first} to ${last.seq}: each fits its hash and the row before`;
  if (unchecked.length > 0) return <Tag tone="warn">{span}; not every checkpoint could be checked</Tag>;
  if (checked.length === 0) return <Tag tone="good">{span}</Tag>;
  return (
    <Tag tone="good">
      {span}; and it holds against {checked.length === 1 ? "the checkpoint" : `${checked.length} checkpoints`}{" "}
      of row {checked.map(({ seq }) => seq).join(", ")}
    </Tag>
  );
}

function Findings({ report: { faults, faultCount, limits, last } }: { report: CheckedChain }) {
  const json = last && JSON.stringify(last);
  return (
    <>
      {faults.length > 0 && (
        <ul className="problem">
          {faults.map((fault, index) => (
            <li key={`${index} ${fault.seq} ${fault.kind}`}>{fault.message}</li>
          ))}
          {faultCount > faults.length && <li>… and {faultCount - faults.length} more</li>}
        </ul>
      )}
      {limits.length > 0 && (
        <ul className="limits">
          {limits.map((limit) => (
            <li key={limit}>{limit}</li>
          ))}
        </ul>
      )}
      {faultCount === 0 && json && (
        <p>
          The checkpoint to keep elsewhere:{" "}
          <a
            download={`audit-checkpoint-${last.seq}.json`}
            href={`data:application/json,${encodeURIComponent(json)}`}
          >
            download
          </a>{" "}
          <code className="checkpoint">{json}</code>
        </p>
      )}
    </>
  );
}
