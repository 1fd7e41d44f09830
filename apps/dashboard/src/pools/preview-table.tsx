import type { Preview } from "@fulcrum/contracts/preview.js";
import { useEffect, useState } from "react";
import { ApiError, send } from "../api/client.js";
import { splitText } from "../ui/format.js";
import { Problem } from "../ui/parts.js";
import { instancePath, Link } from "../ui/router.js";

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

type Item = Preview["items"][number];

function differs({ now, then }: Item): boolean {
  return (
    now.kind !== then.kind ||
    now.applies !== then.applies ||
    splitText(now.allocation) !== splitText(then.allocation)
  );
}

function Result({ preview }: { preview: Preview }) {
  const different = preview.items.filter(differs);
  const same = preview.items.length - different.length;
  return (
    <section aria-label="Preview">
      <p role="status">
        <b>{different.length === 0 ? "Nothing" : different.length}</b>{" "}
        {different.length === 0 ? "would be decided otherwise now" : "would be decided otherwise now"}
        {same > 0 && `, ${same} the same`}. <span className="quiet">{preview.note}</span>
      </p>
      {preview.items.length > 0 && (
        <div className="wide">
          <table>
            <thead>
              <tr>
                <th scope="col">Instance</th>
                <th scope="col">As it is</th>
                <th scope="col">With the change</th>
              </tr>
            </thead>
            <tbody>
              {[...different, ...preview.items.filter((item) => !differs(item))].map((item) => (
                <tr key={item.instance}>
                  <th scope="row">
                    <Link to={instancePath(item.instance)}>{item.instance}</Link>
                    <small className="quiet"> {splitText(item.current)}</small>
                  </th>
                  <td>
                    <DecisionWords decision={item.now} />
                  </td>
                  <td>
                    <DecisionWords decision={item.then} isNew={differs(item)} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function DecisionWords({ decision, isNew = false }: { decision: Item["now"]; isNew?: boolean }) {
  const deed =
    decision.kind === "hold"
      ? "hold"
      : `${decision.applies ? "move" : decision.mode === "recommend" ? "propose" : "record"} to ${splitText(decision.allocation)}`;
  return (
    <>
      {isNew && <b>otherwise: </b>}
      <b>{deed}</b>
      <br />
      <small className="quiet">{decision.message}</small>
    </>
  );
}
