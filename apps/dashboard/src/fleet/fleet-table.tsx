import { type CSSProperties, memo, useRef, useState } from "react";
import { KvGauge } from "../charts/kv-gauge.js";
import { Sparkline } from "../charts/sparkline.js";
import { SplitBar } from "../charts/split-bar.js";
import { msText, percentileText, shareText, wordsOf } from "../ui/format.js";
import { Age, Tag, type Tone } from "../ui/parts.js";
import { instancePath, Link } from "../ui/router.js";
import { useMedia, useWindow } from "../ui/use-window.js";
import { type Health, type Judged, MOVES } from "./fleet-view.js";
import "./fleet.css";

/** Heights of a row, as the stylesheet has them: a line of a table, and a card on a narrow screen. */
const ROW_PX = 68;
const CARD_PX = 206;

export const TONES: Readonly<Record<Health, Tone>> = {
  misses: "bad",
  attention: "warn",
  silent: "warn",
  meets: "good",
};

const HEADS = [
  "Instance",
  "State",
  "Attainment",
  "TTFT",
  "TPOT",
  "Split",
  "KV cache",
  "Last decision",
] as const;

export function FleetTable({ rows }: { rows: readonly Judged[] }) {
  const scroller = useRef<HTMLDivElement>(null);
  const isNarrow = useMedia("(max-width: 900px)");
  const rowPx = isNarrow ? CARD_PX : ROW_PX;
  const { first, last } = useWindow(scroller, rows.length, rowPx);
  // A row with the focus stays in the document when it is out of sight: else the keyboard would start at the top again.
  const [focused, setFocused] = useState<string | null>(null);
  const kept = focused === null ? -1 : rows.findIndex(({ item }) => item.instance.name === focused);
  const shown = indexesOf(first, last, kept);
  const height = { "--rows-px": `${rows.length * rowPx}px` } as CSSProperties;
  return (
    <div className="scroller" ref={scroller} style={height} tabIndex={0} role="region" aria-label="Instances">
      <table role="table" className="fleet-table" aria-rowcount={rows.length + 1}>
        <thead role="rowgroup">
          <tr role="row" aria-rowindex={1}>
            {HEADS.map((head) => (
              <th key={head} role="columnheader" scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody
          role="rowgroup"
          onFocus={({ target }) => setFocused(target.closest("tr")?.dataset["name"] ?? null)}
          onBlur={() => setFocused(null)}
        >
          {shown.map((index) => (
            <Row
              key={rows[index]!.item.instance.name}
              judged={rows[index]!}
              index={index}
              topPx={index * rowPx}
            />
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** [first, last), and the one to keep before or after them: in the order of the list, as it is read and tabbed through. */
function indexesOf(first: number, last: number, kept: number): number[] {
  const shown = Array.from({ length: last - first }, (_, offset) => first + offset);
  if (kept >= 0 && kept < first) return [kept, ...shown];
  return kept >= last ? [...shown, kept] : shown;
}

interface RowProps {
  readonly judged: Judged;
  /** In the whole list, from 0. */
  readonly index: number;
  readonly topPx: number;
}

/** Laid out by itself and put where it belongs: a row that comes or goes moves no other. */
const Row = memo(function Row({ judged, index, topPx }: RowProps) {
  const { item, judgement } = judged;
  const { instance, slo, spark } = item;
  return (
    <tr
      role="row"
      data-name={instance.name}
      aria-rowindex={index + 2}
      className={`health-${judgement.health}`}
      style={{ transform: `translateY(${topPx}px)` }}
    >
      <th role="rowheader" scope="row" className="who">
        <Link to={instancePath(instance.name)}>{instance.name}</Link>
        <small>
          {instance.pool} · {instance.mode}
        </small>
      </th>
      <td role="cell" className="state">
        <Tag tone={TONES[judgement.health]}>{judgement.words}</Tag>
        <small className="two-lines" title={instance.conditions.map(wordsOf).join(", ")}>
          {conditionWords(judged)}
        </small>
      </td>
      <td role="cell" data-label="Attainment">
        <Sparkline values={spark.attainment} bound={slo.attainmentShare} badAbove={false} />
        <Against
          value={shareText(item.attainmentShare)}
          bound={shareText(slo.attainmentShare)}
          isBad={isShort(judged)}
        />
      </td>
      <td role="cell" data-label={`TTFT ${percentileText(slo.ttft.percentile)}`}>
        <Sparkline values={spark.ttftMs} bound={slo.ttft.boundMs} badAbove />
        <Against value={msText(item.ttftMs)} bound={msText(slo.ttft.boundMs)} isBad={judgement.missesTtft} />
      </td>
      <td role="cell" data-label={`TPOT ${percentileText(slo.tpot.percentile)}`}>
        <Sparkline values={spark.tpotMs} bound={slo.tpot.boundMs} badAbove />
        <Against value={msText(item.tpotMs)} bound={msText(slo.tpot.boundMs)} isBad={judgement.missesTpot} />
      </td>
      <td role="cell" data-label="Split">
        <SplitBar asked={instance.desired} delivered={instance.observed} />
      </td>
      <td role="cell" data-label="KV cache">
        <KvGauge usedShare={item.kvUsedShare} quotaPct={instance.desired.kvQuotaPct} />
      </td>
      <td role="cell" className="decided">
        <LastDecision judged={judged} />
      </td>
    </tr>
  );
});

function isShort({ item }: Judged): boolean {
  return item.attainmentShare !== null && item.attainmentShare < item.slo.attainmentShare;
}

/** `812 ms of 300 ms`; bold where it is over. */
function Against({ value, bound, isBad }: { value: string; bound: string; isBad: boolean }) {
  return (
    <span className="against">
      {isBad ? (
        <b className="ink-bad">
          <span aria-hidden="true">▲ </span>
          {value}
        </b>
      ) : (
        value
      )}{" "}
      <span className="quiet">of {bound}</span>
    </span>
  );
}

function conditionWords({ item: { instance } }: Judged): string {
  // That a bound lies inside a bucket is explained on the instance's page; here it would stand in every row.
  const words = instance.conditions
    .filter((one) => one !== "NoSignal" && !one.includes("Bucket"))
    .map(wordsOf);
  if (instance.rollout !== null) words.unshift(`switching: ${wordsOf(instance.rollout)}`);
  return words.join(", ");
}

function LastDecision({ judged: { item } }: { judged: Judged }) {
  const { lastDecision } = item.instance;
  if (lastDecision === null) return <span className="quiet">none yet</span>;
  return (
    <Link to={`/decisions/${lastDecision.id}`} className="plain" title={lastDecision.message}>
      <b>{lastDecision.kind === "move" ? MOVES[item.instance.mode] : "Held"}</b> <Age at={lastDecision.at} />:{" "}
      <span className="message">{lastDecision.message}</span>
    </Link>
  );
}
