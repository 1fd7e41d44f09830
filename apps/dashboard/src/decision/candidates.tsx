import type { Candidate, Decision } from "@fulcrum/core/decision.js";
import type { Allocation, SloTarget } from "@fulcrum/core/nouns.js";
import { useState } from "react";
import { type Cell, HeatMap } from "../charts/heat-map.js";
import { msText, shareText, splitText, wordsOf } from "../ui/format.js";

type Shade = "worst" | "ttft" | "tpot" | "share";

const SHADES: readonly (readonly [Shade, string])[] = [
  ["worst", "the worse of both"],
  ["ttft", "TTFT"],
  ["tpot", "TPOT"],
  ["share", "attainment"],
];

/** A promise of all requests would make every miss infinitely bad. */
const LEAST_ALLOWED = 0.001;

interface CandidatesProps {
  readonly decided: Partial<Decision>;
  readonly slo: SloTarget | null;
  readonly current: Allocation | null;
}

/** What was weighed: a map over both caps, and the same as a table. */
export function Candidates({ decided, slo, current }: CandidatesProps) {
  const [shade, setShade] = useState<Shade>("worst");
  const candidates = decided.candidates ?? [];
  if (candidates.length === 0 || slo === null) return null;
  const tellsShare = candidates.some((one) => one.share !== undefined);
  const cells = candidates.map((one) => cellOf(one, slo, shade));
  return (
    <section className="card" aria-label="What was weighed">
      <h2>What was weighed</h2>
      <div className="columns">
        <div>
          <div className="buttons">
            <span className="quiet">Coloured by</span>
            {SHADES.filter(([key]) => key !== "share" || tellsShare).map(([key, label]) => (
              <button
                key={key}
                type="button"
                className="small"
                aria-pressed={shade === key}
                onClick={() => setShade(key)}
              >
                {label}
              </button>
            ))}
          </div>
          <HeatMap cells={cells} current={current} />
        </div>
        <CandidateTable candidates={candidates} slo={slo} />
      </div>
    </section>
  );
}

function cellOf(one: Candidate, slo: SloTarget, shade: Shade): Cell {
  const ttft = one.ttftMs === null ? null : one.ttftMs / slo.ttft.boundMs;
  const tpot = one.tpotMs === null ? null : one.tpotMs / slo.tpot.boundMs;
  const both = ttft === null || tpot === null ? null : Math.max(ttft, tpot);
  // Misses over those that are allowed: at the bound it is 1, as a latency at its bound is.
  const share =
    one.share === undefined ? null : (1 - one.share) / Math.max(1 - slo.attainmentShare, LEAST_ALLOWED);
  const ratios: Readonly<Record<Shade, number | null>> = { worst: both, ttft, tpot, share };
  return {
    xPct: one.allocation.split.prefillSmPct,
    yPct: one.allocation.split.decodeSmPct,
    ratio: ratios[shade],
    verdict: one.verdict,
    words: `${splitText(one.allocation)}: TTFT ${msText(one.ttftMs)} of ${msText(slo.ttft.boundMs)}, TPOT ${msText(one.tpotMs)} of ${msText(slo.tpot.boundMs)}${sharesText(one, slo)}; ${VERDICTS[one.verdict]}`,
  };
}

/** `, attainment 93 % of 90 %, batch 41 %`. */
function sharesText({ share, classes }: Candidate, slo: SloTarget): string {
  const own =
    share === undefined ? "" : `, attainment ${shareText(share)} of ${shareText(slo.attainmentShare)}`;
  const others = (classes ?? []).filter(({ name }) => name !== null);
  return own + others.map((one) => `, ${one.name} ${shareText(one.share)}`).join("");
}

const VERDICTS: Readonly<Record<Candidate["verdict"], string>> = {
  chosen: "chosen",
  meets: "would meet both",
  misses: "would miss",
  "breaks-other": "would break the other phase",
  "out-of-bounds": "out of bounds",
  unstable: "prefill would not keep up",
};

function CandidateTable({ candidates, slo }: { candidates: readonly Candidate[]; slo: SloTarget }) {
  const tellsShare = candidates.some(({ share }) => share !== undefined);
  const classes = slo.classes ?? [];
  return (
    <div className="wide candidate-table">
      <table>
        <caption>
          Predicted for each split; bounds {msText(slo.ttft.boundMs)} and {msText(slo.tpot.boundMs)}
        </caption>
        <thead>
          <tr>
            <th scope="col">Prefill/decode</th>
            <th scope="col" className="number">
              TTFT
            </th>
            <th scope="col" className="number">
              TPOT
            </th>
            {tellsShare && (
              <th scope="col" className="number">
                Attainment
              </th>
            )}
            {classes.map(({ name }) => (
              <th key={name} scope="col" className="number">
                {name}
              </th>
            ))}
            <th scope="col">Verdict</th>
          </tr>
        </thead>
        <tbody>
          {candidates.map((one) => (
            <tr key={JSON.stringify(one.allocation)} className={one.verdict === "chosen" ? "chosen" : ""}>
              <th scope="row">{splitText(one.allocation)}</th>
              <td className="number">
                <Over ms={one.ttftMs} boundMs={slo.ttft.boundMs} />
              </td>
              <td className="number">
                <Over ms={one.tpotMs} boundMs={slo.tpot.boundMs} />
              </td>
              {tellsShare && (
                <td className="number">
                  <Under share={one.share} target={slo.attainmentShare} />
                </td>
              )}
              {classes.map(({ name, attainmentShare }) => (
                <td key={name} className="number">
                  <Under
                    share={one.classes?.find((promise) => promise.name === name)?.share}
                    target={attainmentShare}
                  />
                </td>
              ))}
              <td>{VERDICTS[one.verdict] ?? wordsOf(one.verdict)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Over({ ms, boundMs }: { ms: number | null; boundMs: number }) {
  const misses = ms !== null && ms > boundMs;
  return (
    <span className={misses ? "ink-bad" : ""}>
      {misses ? "▲ " : ""}
      {msText(ms)}
    </span>
  );
}

function Under({ share, target }: { share: number | undefined; target: number }) {
  const misses = share !== undefined && share < target;
  return (
    <span className={misses ? "ink-bad" : ""}>
      {misses ? "▲ " : ""}
      {shareText(share)}
    </span>
  );
}
