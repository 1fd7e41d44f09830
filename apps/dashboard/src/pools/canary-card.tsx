import type { Canary } from "@fulcrum/contracts/canary.js";
import { useEvery, useLoad } from "../api/use-load.js";
import { pointsText, shareText, spanText, wordsOf } from "../ui/format.js";
import { Age, Curl, Loading, Tag, type Tone } from "../ui/parts.js";
import { instancePath, Link } from "../ui/router.js";
import "./pool.css";

const RELOAD_MS = 30_000;
const TONES: Readonly<Record<Canary["verdict"], Tone>> = {
  better: "good",
  worse: "bad",
  no_difference: "quiet",
  cannot_tell: "quiet",
};

/** How the instances that the policy moves do beside the rest. */
export function CanaryCard({ path }: { path: string }) {
  const canaryPath = `${path}/canary`;
  const { data, error, reload } = useLoad<Canary>(canaryPath);
  useEvery(RELOAD_MS, reload);
  return (
    <section className="card" aria-label="Canary">
      <h2>Canary</h2>
      {data ? <Body canary={data} /> : <Loading error={error} />}
      <Curl request={{ method: "GET", path: canaryPath }} />
    </section>
  );
}

function Body({ canary }: { canary: Canary }) {
  const { blocks, minBlocks, blockMs, before, confidence } = canary;
  return (
    <>
      <p>
        <Tag tone={TONES[canary.verdict]}>{wordsOf(canary.verdict)}</Tag> {canary.message}
      </p>
      <Interval canary={canary} />
      <dl className="facts">
        <dt>Difference</dt>
        <dd>
          {pointsText(canary.diffShare)} of attainment
          {canary.lowShare !== null && canary.highShare !== null && (
            <span className="quiet">
              {" "}
              ({pointsText(canary.lowShare)} to {pointsText(canary.highShare)} with {shareText(confidence)})
            </span>
          )}
        </dd>
        <dt>Before</dt>
        <dd>
          {before === null
            ? "not known: nothing is taken off"
            : `${pointsText(before.diff)}, taken off (${before.blocks} blocks)`}
        </dd>
        <dt>Compared</dt>
        <dd>
          {blocks} blocks of {spanText(blockMs)}, at least {minBlocks} are needed
          {canary.since && (
            <>
              ; since <Age at={canary.since} />
            </>
          )}
        </dd>
        <dt>Moved by the policy</dt>
        <dd>
          <Names names={canary.instances} />
        </dd>
        <dt>Left as they are</dt>
        <dd>
          <Names names={canary.rest} />
        </dd>
      </dl>
    </>
  );
}

const SHOWN = 12;

function Names({ names }: { names: readonly string[] }) {
  if (names.length === 0) return <span className="quiet">none</span>;
  return (
    <>
      {names.slice(0, SHOWN).map((name, index) => (
        <span key={name}>
          {index > 0 && ", "}
          <Link to={instancePath(name)}>{name}</Link>
        </span>
      ))}
      {names.length > SHOWN && ` and ${names.length - SHOWN} more`}
    </>
  );
}

const WIDTH = 400;
const LEAST = 0.05;

/** The interval about the difference, zero in the middle. */
function Interval({ canary: { lowShare, highShare, diffShare } }: { canary: Canary }) {
  if (lowShare === null || highShare === null || diffShare === null) return null;
  const reach = Math.max(LEAST, Math.abs(lowShare), Math.abs(highShare)) * 1.1;
  const x = (share: number) => WIDTH / 2 + (share / reach) * (WIDTH / 2 - 4);
  return (
    <div className="interval" aria-hidden="true">
      <svg viewBox={`0 0 ${WIDTH} 40`}>
        <line x1={0} x2={WIDTH} y1={16} y2={16} />
        <line className="interval-zero" x1={x(0)} x2={x(0)} y1={4} y2={28} />
        <line className="interval-band" x1={x(lowShare)} x2={x(highShare)} y1={16} y2={16} />
        <circle cx={x(diffShare)} cy={16} r={5} />
        <text x={0} y={38}>
          canary worse
        </text>
        <text x={WIDTH} y={38} textAnchor="end">
          canary better
        </text>
      </svg>
    </div>
  );
}
