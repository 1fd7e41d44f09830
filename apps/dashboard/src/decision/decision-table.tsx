import type { DecisionSummary } from "@fulcrum/contracts/resources.js";
import { useEvents } from "../api/live.js";
import type { Page } from "../api/types.js";
import { useLoad } from "../api/use-load.js";
import { splitText, wordsOf } from "../ui/format.js";
import { Age, Empty, Loading } from "../ui/parts.js";
import { instancePath, Link } from "../ui/router.js";

interface DecisionTableProps {
  /** As GET /v1/decisions takes it. */
  readonly query: Readonly<Record<string, string>>;
  readonly withInstance?: boolean;
  /** Shown beneath when there is more: gets the cursor. */
  readonly onMore?: (cursor: string) => void;
}

export function DecisionTable({ query, withInstance = false, onMore }: DecisionTableProps) {
  const { data, error, reload } = useLoad<Page<DecisionSummary>>(
    `/v1/decisions?${new URLSearchParams(query).toString()}`,
  );
  useEvents((event) => {
    if (event === "decision" && query.cursor === undefined) reload();
  });
  if (!data) return <Loading error={error} />;
  if (data.items.length === 0) return <Empty>No decision fits.</Empty>;
  return (
    <div className="wide">
      <table>
        <thead>
          <tr>
            <th scope="col">When</th>
            {withInstance && <th scope="col">Instance</th>}
            <th scope="col">What</th>
            <th scope="col">Why</th>
            <th scope="col">Split</th>
          </tr>
        </thead>
        <tbody>
          {data.items.map((one) => (
            <Row key={one.id} one={one} withInstance={withInstance} />
          ))}
        </tbody>
      </table>
      {onMore && data.nextCursor !== null && (
        <button type="button" onClick={() => onMore(data.nextCursor!)}>
          Older
        </button>
      )}
    </div>
  );
}

function Row({ one, withInstance }: { one: DecisionSummary; withInstance: boolean }) {
  return (
    <tr>
      <td>
        <Link to={`/decisions/${one.id}`}>
          <Age at={one.at} />
        </Link>
      </td>
      {withInstance && (
        <td>
          <Link to={instancePath(one.instance)}>{one.instance}</Link>
        </td>
      )}
      <td>{deedWords(one)}</td>
      <td>
        <Link to={`/decisions/${one.id}`} className="plain">
          <b>{wordsOf(one.reason)}</b>: <span className="message">{one.message}</span>
        </Link>
      </td>
      <td>{splitText(one.allocation)}</td>
    </tr>
  );
}

/** What came of it, in a word or two. */
export function deedWords({
  kind,
  outcome,
  mode,
}: Pick<DecisionSummary, "kind" | "outcome" | "mode">): string {
  if (kind === "hold") return "held";
  if (outcome === "applied") return "moved";
  if (outcome === "lost_race") return "overtaken";
  if (outcome === "held") return "stopped by hand";
  if (outcome === "outdated") return "stopped: the pool was changed";
  return mode === "recommend" ? "proposed" : "would move";
}
