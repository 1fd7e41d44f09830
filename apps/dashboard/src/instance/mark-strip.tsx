import type { Series } from "@fulcrum/contracts/live.js";
import { Fragment } from "react";
import { AXIS_PX, RIGHT_PX } from "../charts/time-chart.js";
import { Link } from "../ui/router.js";
import { markWords, placeOf } from "./series-view.js";

type SeriesMark = Series["marks"][number];
type Place = NonNullable<ReturnType<typeof placeOf>>;

const SIGNS = { decision: "◆", rollout: "↻", hold: "‖" } as const;
const END_SIGN = "▸";
/** More than this on one chart is a fence; the newest are shown. */
const MAX_MARKS = 60;

interface StripProps {
  readonly marks: readonly SeriesMark[];
  readonly fromMs: number;
  readonly toMs: number;
}

interface Placed {
  readonly mark: SeriesMark;
  readonly place: Place;
}

/** Where decisions and rollouts fell, and for how long holds were in force: a line or a band, and a sign with words. */
export function MarkStrip({ marks, fromMs, toMs }: StripProps) {
  return (
    <div className="marks" style={{ left: AXIS_PX, right: RIGHT_PX }}>
      {shownOf(marks, fromMs, toMs).map(({ mark, place }) => {
        const words = markWords(mark, toMs);
        const isOver = mark.kind === "hold" && mark.endMs !== null && mark.endMs <= toMs;
        return (
          <Fragment key={`${mark.kind}${mark.id}${mark.atMs}`}>
            {mark.kind === "hold" && (
              <span
                className="mark-band"
                style={{ left: percent(place.from), right: percent(1 - place.to) }}
              />
            )}
            {mark.atMs >= fromMs && (
              <span className={`mark-line of-${mark.kind}`} style={{ left: percent(place.from) }} />
            )}
            <MarkSign mark={mark} left={percent(place.from)} words={words} />
            {isOver && (
              <span
                className="mark of-hold"
                style={{ left: percent(place.to) }}
                title={`end of ${words}`}
                aria-hidden="true"
              >
                {END_SIGN}
              </span>
            )}
          </Fragment>
        );
      })}
    </div>
  );
}

function percent(share: number): string {
  return `${(share * 100).toFixed(2)}%`;
}

/** A rollout that a decision began says nothing more; decisions come last, on top. */
function shownOf(marks: readonly SeriesMark[], fromMs: number, toMs: number): Placed[] {
  const nearMs = (toMs - fromMs) * 0.01;
  const seen = marks.flatMap((mark): Placed[] => {
    const moment = mark.kind === "hold" ? mark : { ...mark, endMs: mark.atMs };
    const place = placeOf(moment, fromMs, toMs);
    return place === null ? [] : [{ mark, place }];
  });
  const decisions = seen.filter(({ mark }) => mark.kind === "decision");
  const isAlone = ({ mark }: Placed) =>
    decisions.every((one) => Math.abs(one.mark.atMs - mark.atMs) > nearMs);
  const others = seen.filter(
    (one) => one.mark.kind === "hold" || (one.mark.kind === "rollout" && isAlone(one)),
  );
  return [...others, ...decisions].slice(-MAX_MARKS);
}

function MarkSign({ mark, left, words }: { mark: SeriesMark; left: string; words: string }) {
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
