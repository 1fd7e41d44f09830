import type { DecisionResource } from "@fulcrum/contracts/resources.js";
import type { Decision } from "@fulcrum/core/decision.js";
import type { SloTarget } from "@fulcrum/core/nouns.js";
import { msText, percentileText, rateText, shareText } from "../ui/format.js";

interface SeenProps {
  readonly slo: SloTarget | null;
  readonly observed: Decision["observed"] | null;
  readonly predicted: DecisionResource["predicted"];
  readonly kind: DecisionResource["kind"];
}

/** What was measured against what was promised, and what the model expected of the choice. */
export function Seen({ slo, observed, predicted, kind }: SeenProps) {
  const row = (name: string, phase: "ttft" | "tpot") => {
    const key = phase === "ttft" ? "ttftMs" : "tpotMs";
    const ms = observed?.[key] ?? null;
    const bound = slo?.[phase].boundMs ?? null;
    const misses = ms !== null && bound !== null && ms > bound;
    return (
      <tr>
        <th scope="row">
          {name} {slo ? percentileText(slo[phase].percentile) : ""}
        </th>
        <td className={misses ? "ink-bad number" : "number"}>
          {misses ? "▲ " : ""}
          {msText(ms)}
        </td>
        <td className="number">{msText(bound)}</td>
        <td className="number">
          {shareText(phase === "ttft" ? observed?.ttftOkShare : observed?.tpotOkShare)}
        </td>
        <td className="number">{msText(predicted?.[key])}</td>
      </tr>
    );
  };
  return (
    <section className="card" aria-label="What was seen">
      <h2>What was seen</h2>
      <table>
        <thead>
          <tr>
            <th scope="col" />
            <th scope="col" className="number">
              measured
            </th>
            <th scope="col" className="number">
              bound
            </th>
            <th scope="col" className="number">
              within it
            </th>
            <th scope="col" className="number">
              predicted {kind === "move" ? "after" : "staying"}
            </th>
          </tr>
        </thead>
        <tbody>
          {row("TTFT", "ttft")}
          {row("TPOT", "tpot")}
        </tbody>
      </table>
      <p className="quiet">
        {rateText(observed?.arrivalPerS)} requests; prefill needs at least {shareText(observed?.lambdaShare)}{" "}
        of the GPU to keep up.
        {observed?.exact === false && " A bound lies inside a histogram bucket: shares are interpolated."}
      </p>
      <Classes slo={slo} observed={observed} />
    </section>
  );
}

/** Of an SLO with classes: each promise in the order in which they are kept. */
function Classes({ slo, observed }: Pick<SeenProps, "slo" | "observed">) {
  const promises = observed?.classes ?? [];
  if (promises.length === 0) return null;
  return (
    <div className="wide">
      <table>
        <caption>Promises in their order: what comes first goes before the others</caption>
        <thead>
          <tr>
            <th scope="col">Promise</th>
            <th scope="col" className="number">
              TTFT within
            </th>
            <th scope="col" className="number">
              TPOT within
            </th>
            <th scope="col" className="number">
              promised
            </th>
            <th scope="col">Held against it</th>
          </tr>
        </thead>
        <tbody>
          {promises.map(({ name, ttftOkShare, tpotOkShare, own }) => (
            <tr key={name ?? ""}>
              <th scope="row">{name ?? "the SLO itself"}</th>
              <td className="number">{shareText(ttftOkShare)}</td>
              <td className="number">{shareText(tpotOkShare)}</td>
              <td className="number">{shareText(targetOf(slo, name))}</td>
              <td>{name === null || !own ? "all requests" : "its own requests"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function targetOf(slo: SloTarget | null, name: string | null): number | undefined {
  return name === null
    ? slo?.attainmentShare
    : slo?.classes?.find((one) => one.name === name)?.attainmentShare;
}
