import type { Evidence } from "@fulcrum/contracts/outcomes.js";
import { useLoad } from "../api/use-load.js";
import { NONE } from "../ui/format.js";

const HOURS = 24;

/** How this pool's decisions turned out: what one wants to know before the next mode. */
export function EvidenceCard({ pool }: { pool: string }) {
  const { data } = useLoad<Evidence>(`/v1/pools/${encodeURIComponent(pool)}/evidence?hours=${HOURS}`);
  if (!data) return null;
  return (
    <section className="card" aria-label="Evidence">
      <h2>Evidence of the last {HOURS} hours</h2>
      <p>{data.message}</p>
      {data.items.length > 0 && (
        <div className="wide">
          <table>
            <thead>
              <tr>
                <th scope="col">Mode</th>
                {[
                  "Trials",
                  "as predicted",
                  "better",
                  "worse",
                  "cannot tell",
                  "Taken back",
                  "Gain predicted",
                  "Gain seen",
                ].map((head) => (
                  <th key={head} scope="col" className="number">
                    {head}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {data.items.map((one) => (
                <tr key={`${one.mode} ${one.subject}`}>
                  <th scope="row">
                    {one.mode} <span className="quiet">({one.subject === "move" ? "moves" : "staying"})</span>
                  </th>
                  <td className="number">{one.trials}</td>
                  <td className="number">{one.verdicts.as_predicted}</td>
                  <td className="number">{one.verdicts.better}</td>
                  <td className="number">{one.verdicts.worse}</td>
                  <td className="number">{one.verdicts.cannot_tell}</td>
                  <td className="number">{one.takenBack}</td>
                  <td className="number">{gainText(one.predictedGainShare)}</td>
                  <td className="number">{gainText(one.observedGainShare)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

/** `+4.2 points` of attainment. */
function gainText(share: number | null): string {
  if (share === null) return NONE;
  return `${share < 0 ? "−" : "+"}${Math.abs(share * 100).toFixed(1)} points`;
}
