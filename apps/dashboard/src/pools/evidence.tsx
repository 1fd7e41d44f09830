import type { Evidence } from "@fulcrum/contracts/outcomes.js";
import { useLoad } from "../api/use-load.js";
import { pointsText } from "../ui/format.js";

export const HOURS = 24;

type Item = Evidence["items"][number];

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
                  <td className="number">{pointsText(one.predictedGainShare)}</td>
                  <td className="number">{pointsText(one.observedGainShare)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {data.items.map((one) => (
        <HindsightLine key={`${one.mode} ${one.subject}`} item={one} />
      ))}
    </section>
  );
}

/** Of moves that were only recorded: what they would have come to, by the model and the load that came. */
export function HindsightLine({ item: { mode, hindsight } }: { item: Item }) {
  if (hindsight === null) return null;
  return (
    <p>
      In hindsight, of the moves recorded in {mode}: {hindsight.would_have_helped} would have helped,{" "}
      {hindsight.would_not} would not, of {hindsight.cannot_tell} it cannot be told
      {hindsight.gainShare !== null && <>; {pointsText(hindsight.gainShare)} of attainment on average</>}.
    </p>
  );
}
