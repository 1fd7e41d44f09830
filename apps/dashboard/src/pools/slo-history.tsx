import type { SloVersion } from "@fulcrum/contracts/pools.js";
import type { SloPromise } from "@fulcrum/core/nouns.js";
import { Fragment } from "react";
import { useLoad } from "../api/use-load.js";
import { msText, percentileText, shareText } from "../ui/format.js";
import { Age } from "../ui/parts.js";

const SHOWN = 6;

export function SloHistory({ path }: { path: string }) {
  const { data } = useLoad<{ items: readonly SloVersion[] }>(`${path}/slo/versions`);
  return (
    <section className="card" aria-label="SLO versions">
      <h2>Versions</h2>
      <table>
        <thead>
          <tr>
            <th scope="col">No.</th>
            <th scope="col">TTFT</th>
            <th scope="col">TPOT</th>
            <th scope="col">Attainment</th>
            <th scope="col">Set</th>
          </tr>
        </thead>
        <tbody>
          {(data?.items ?? []).slice(0, SHOWN).map(({ version, slo, createdAt, createdBy }) => (
            <Fragment key={version}>
              <tr>
                <td>{version}</td>
                <PromiseCells promise={slo} />
                <td>
                  <Age at={createdAt} /> <span className="quiet">by {createdBy}</span>
                </td>
              </tr>
              {slo.classes?.map((one) => (
                <tr key={one.name}>
                  <td />
                  <PromiseCells promise={one} />
                  <td>class {one.name}</td>
                </tr>
              ))}
            </Fragment>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function PromiseCells({ promise: { ttft, tpot, attainmentShare } }: { promise: SloPromise }) {
  return (
    <>
      <td>
        {percentileText(ttft.percentile)} {msText(ttft.boundMs)}
      </td>
      <td>
        {percentileText(tpot.percentile)} {msText(tpot.boundMs)}
      </td>
      <td>{shareText(attainmentShare)}</td>
    </>
  );
}
