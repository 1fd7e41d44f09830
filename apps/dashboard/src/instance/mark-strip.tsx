import type { Series } from "@fulcrum/contracts/live.js";
import { Fragment } from "react";
import { AXIS_PX, RIGHT_PX } from "../charts/time-chart.js";
import { clockText } from "../ui/format.js";
import { Link } from "../ui/router.js";

type SeriesMark = Series["marks"][number];

const SIGNS = { decision: "◆", rollout: "↻", hold: "‖" } as const;
/** More than this on one chart is a fence; the newest are shown, and the list below has all. */
const MAX_MARKS = 60;

/** Where decisions, rollouts and holds fell: a line through the plot, and a link to what it was. */
export function MarkStrip({
  marks,
  fromMs,
  toMs,
}: {
  marks: readonly SeriesMark[];
  fromMs: number;
  toMs: number;
}) {
  const within = shownOf(marks, fromMs, toMs);
  return (
    <div className="marks" style={{ left: AXIS_PX, right: RIGHT_PX }}>
      {within.map((mark) => {
        const left = `${(((mark.atMs - fromMs) / (toMs - fromMs)) * 100).toFixed(2)}%`;
        return (
          <Fragment key={mark.kind + mark.id}>
            <span className={`mark-line of-${mark.kind}`} style={{ left }} />
            <MarkSign mark={mark} left={left} />
          </Fragment>
        );
      })}
    </div>
  );
}

/** A rollout that a decision began says nothing more; holds and decisions come last, on top. */
function shownOf(marks: readonly SeriesMark[], fromMs: number, toMs: number): SeriesMark[] {
  const nearMs = (toMs - fromMs) * 0.01;
  const seen = marks.filter(({ atMs }) => atMs >= fromMs && atMs <= toMs);
  const decisions = seen.filter(({ kind }) => kind === "decision");
  const isAlone = ({ atMs }: SeriesMark) => decisions.every((one) => Math.abs(one.atMs - atMs) > nearMs);
  const others = seen.filter((mark) => mark.kind !== "decision" && isAlone(mark));
  return [...others, ...decisions].slice(-MAX_MARKS);
}

function MarkSign({ mark, left }: { mark: SeriesMark; left: string }) {
  const words = `${clockText(mark.atMs)} ${mark.kind}: ${mark.label}`;
  if (mark.kind !== "decision") {
    return (
      <span className={`mark of-${mark.kind}`} style={{ left }} title={words} role="img" aria-label={words}>
        {SIGNS[mark.kind]}
      </span>
    );
  }
  return (
    <Link
      to={`/decisions/${mark.id}`}
      className="mark of-decision"
      style={{ left }}
      title={words}
      aria-label={words}
    >
      {SIGNS.decision}
    </Link>
  );
}
