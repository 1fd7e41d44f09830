import type { TrialResource } from "@fulcrum/contracts/outcomes.js";
import { allocationText, msText, pointsText, rateText, shareText, wordsOf } from "../ui/format.js";
import { Tag, type Tone } from "../ui/parts.js";

type HindsightResource = NonNullable<TrialResource["hindsight"]>;

const TONES: Readonly<Record<NonNullable<TrialResource["verdict"]>, Tone>> = {
  as_predicted: "good",
  better: "good",
  worse: "bad",
  cannot_tell: "quiet",
};

/** How it turned out: before, predicted and observed side by side. */
export function Outcome({ trial }: { trial: TrialResource | null }) {
  if (trial === null) return null;
  return (
    <section className="card" aria-label="How it turned out">
      <h2>How it turned out</h2>
      <p>
        {trial.verdict === null ? (
          <Tag tone="quiet">still being tried</Tag>
        ) : (
          <Tag tone={TONES[trial.verdict]}>{wordsOf(trial.verdict)}</Tag>
        )}{" "}
        {trial.message}
      </p>
      {trial.takenBack && <p className="problem">The allocation before was restored because of this.</p>}
      {trial.observed && <Figures trial={trial} />}
      {trial.hindsight && <InHindsight hindsight={trial.hindsight} />}
    </section>
  );
}

const HINDSIGHT_TONES: Readonly<Record<HindsightResource["verdict"], Tone>> = {
  would_have_helped: "good",
  would_not: "quiet",
  cannot_tell: "quiet",
};

/** Of a move that was only recorded. */
function InHindsight({ hindsight }: { hindsight: HindsightResource }) {
  return (
    <>
      <h3>Would it have helped?</h3>
      <p>
        <Tag tone={HINDSIGHT_TONES[hindsight.verdict]}>{wordsOf(hindsight.verdict)}</Tag> {hindsight.message}
      </p>
      <dl className="facts">
        <dt>Recorded</dt>
        <dd>{allocationText(hindsight.move)}</dd>
        <dt>By the model</dt>
        <dd>
          {shareText(hindsight.staying?.attainmentShare)} staying,{" "}
          {shareText(hindsight.moving?.attainmentShare)} moving: {pointsText(hindsight.gainShare)}
        </dd>
        <dt>Its error</dt>
        <dd>
          {shareText(hindsight.errorShare)} <span className="quiet">on what did happen</span>
        </dd>
      </dl>
    </>
  );
}

function Figures({ trial: { before, predicted, observed, requests } }: { trial: TrialResource }) {
  const row = (label: string, cells: readonly string[]) => (
    <tr>
      <th scope="row">{label}</th>
      {cells.map((cell, index) => (
        <td key={["before", "predicted", "observed"][index]} className="number">
          {cell}
        </td>
      ))}
    </tr>
  );
  return (
    <div className="wide">
      <table className="outcome">
        <caption>{requests ?? 0} requests finished in the trial</caption>
        <thead>
          <tr>
            <th scope="col" />
            <th scope="col" className="number">
              before
            </th>
            <th scope="col" className="number">
              predicted
            </th>
            <th scope="col" className="number">
              observed
            </th>
          </tr>
        </thead>
        <tbody>
          {row(
            "Attainment",
            [before, predicted, observed].map((one) => shareText(one?.attainmentShare)),
          )}
          {row(
            "TTFT",
            [before, predicted, observed].map((one) => msText(one?.ttftMs)),
          )}
          {row(
            "TPOT",
            [before, predicted, observed].map((one) => msText(one?.tpotMs)),
          )}
          {row("Requests", [rateText(before?.arrivalPerS), "", rateText(observed?.arrivalPerS)])}
        </tbody>
      </table>
    </div>
  );
}
