import type { Preview } from "@fulcrum/contracts/preview.js";
import { useEffect, useState } from "react";
import { ApiError, send } from "../api/client.js";
import { splitText } from "../ui/format.js";
import { Problem, Table } from "../ui/parts.js";
import { instancePath, Link } from "../ui/router.js";
import { deedOf, differenceOf, type PreviewItem, summaryOf } from "./preview-view.js";

interface PreviewTableProps {
  readonly path: string;
  readonly change: Readonly<Record<string, unknown>> | null;
}

/** What the policy would decide now, instance by instance, before anything is saved. */
export function PreviewTable({ path, change }: PreviewTableProps) {
  const [preview, setPreview] = useState<Preview | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const key = JSON.stringify(change);
  useEffect(() => {
    setPreview(null);
    setError(null);
  }, [key]);
  if (change === null) return <p className="quiet">These changes do not change what is decided now.</p>;
  const ask = async () => {
    try {
      setPreview((await send<Preview>({ method: "POST", path, body: change })).data);
      setError(null);
    } catch (failure) {
      setError(failure instanceof ApiError ? failure : new ApiError(0, String(failure)));
    }
  };
  return (
    <div className="preview">
      <button type="button" onClick={() => void ask()}>
        Preview: what would change
      </button>
      <Problem error={error} />
      {preview && <Result preview={preview} />}
    </div>
  );
}

function Result({ preview }: { preview: Preview }) {
  const { items, note } = preview;
  const ordered = [
    ...items.filter((item) => differenceOf(item)),
    ...items.filter((item) => !differenceOf(item)),
  ];
  return (
    <section aria-label="Preview">
      <p role="status">
        <b>{summaryOf(items)}</b> <span className="quiet">{note}</span>
      </p>
      {items.length > 0 && (
        <Table heads={["Instance", "As it is", "With the change"]}>
          {ordered.map((item) => (
            <tr key={item.instance}>
              <th scope="row">
                <Link to={instancePath(item.instance)}>{item.instance}</Link>
                <small className="quiet"> {splitText(item.current)}</small>
              </th>
              <td>
                <DecisionWords decision={item.now} />
              </td>
              <td>
                <DecisionWords decision={item.then} isNew={differenceOf(item) !== null} />
              </td>
            </tr>
          ))}
        </Table>
      )}
    </section>
  );
}

/** What holds it, and what would be decided without; else what is decided. */
function DecisionWords({ decision, isNew = false }: { decision: PreviewItem["now"]; isNew?: boolean }) {
  const { unheld } = decision;
  const shown = unheld ?? decision;
  return (
    <>
      {unheld && (
        <p className="quiet">
          <b>held:</b> {decision.message}
        </p>
      )}
      {isNew && <b>otherwise: </b>}
      <b>
        {unheld && "without the hold: "}
        {deedOf(shown)}
      </b>
      <br />
      <small className="quiet">{shown.message}</small>
    </>
  );
}
