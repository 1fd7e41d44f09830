import type { Capacity } from "@fulcrum/contracts/capacity.js";
import { useEvery, useLoad } from "../api/use-load.js";
import { rateText, timesText } from "../ui/format.js";
import { Curl, Loading, Tag } from "../ui/parts.js";
import { instancePath, Link } from "../ui/router.js";

const RELOAD_MS = 30_000;
/** The tightest ones; what is beyond is said. */
const SHOWN = 10;

/** Whether splitting can keep the promise, and how many instances would. */
export function CapacityCard({ path }: { path: string }) {
  const capacityPath = `${path}/capacity`;
  const { data, error, reload } = useLoad<Capacity>(capacityPath);
  useEvery(RELOAD_MS, reload);
  return (
    <section className="card" aria-label="Capacity">
      <h2>Capacity</h2>
      {data ? <Body capacity={data} /> : <Loading error={error} />}
      <Curl request={{ method: "GET", path: capacityPath }} />
    </section>
  );
}

function Body({ capacity }: { capacity: Capacity }) {
  const sorted = [...capacity.perInstance].sort(
    (a, b) => (a.headroom ?? Infinity) - (b.headroom ?? Infinity) || (a.instance < b.instance ? -1 : 1),
  );
  return (
    <>
      <p>
        {capacity.additional > 0 ? (
          <Tag tone="bad">{capacity.additional} more needed</Tag>
        ) : (
          <Tag tone={capacity.headroom === null ? "quiet" : "good"}>
            {capacity.headroom === null ? "not known" : "enough"}
          </Tag>
        )}{" "}
        {capacity.message}
      </p>
      <dl className="facts">
        <dt>Instances</dt>
        <dd>
          {capacity.instances}, needed {capacity.needed}
        </dd>
        <dt>Headroom</dt>
        <dd>
          {timesText(capacity.headroom)} the present load{" "}
          <span className="quiet">
            (told by {capacity.known} of {capacity.instances})
          </span>
        </dd>
      </dl>
      {sorted.length > 0 && (
        <div className="wide">
          <table>
            <thead>
              <tr>
                <th scope="col">Instance</th>
                <th scope="col" className="number">
                  Headroom
                </th>
                <th scope="col" className="number">
                  Requests
                </th>
                <th scope="col">Why</th>
              </tr>
            </thead>
            <tbody>
              {sorted.slice(0, SHOWN).map((one) => (
                <tr key={one.instance}>
                  <th scope="row">
                    <Link to={instancePath(one.instance)}>{one.instance}</Link>
                  </th>
                  <td className="number">
                    <span className={one.headroom !== null && one.headroom < 1 ? "ink-bad" : ""}>
                      {one.headroom !== null && one.headroom < 1 && "▲ "}
                      {timesText(one.headroom)}
                    </span>
                  </td>
                  <td className="number">{rateText(one.arrivalPerS)}</td>
                  <td>{one.why}</td>
                </tr>
              ))}
            </tbody>
          </table>
          {sorted.length > SHOWN && (
            <p className="quiet">and {sorted.length - SHOWN} with more headroom or none known</p>
          )}
        </div>
      )}
    </>
  );
}
