import type { Allocation } from "@fulcrum/core/nouns.js";
import { useState } from "react";

export interface Cell {
  readonly xPct: number;
  readonly yPct: number;
  /** Predicted latency over its bound: 1 is at the bound. Null: the model cannot tell. */
  readonly ratio: number | null;
  readonly verdict: string;
  readonly words: string;
}

interface HeatMapProps {
  readonly cells: readonly Cell[];
  readonly current: Allocation | null;
}

const SIZE = 300;
/** Fewer cells need no large picture. */
const FEW = 8;
const LEFT = 40;
const BOTTOM = 34;
const TICKS = [0, 25, 50, 75, 100];

const x = (pct: number) => LEFT + (pct / 100) * SIZE;
const y = (pct: number) => SIZE - (pct / 100) * SIZE + 8;

/**
 * Splits that were weighed, prefill's cap across and decode's up. Colour: how near to its bound; a stroke through a
 * cell says that it misses, so that colour is not needed to tell.
 */
export function HeatMap({ cells, current }: HeatMapProps) {
  const [picked, setPicked] = useState<Cell | null>(null);
  const chosen = cells.find(({ verdict }) => verdict === "chosen") ?? null;
  const side = sideOf(cells);
  const told = picked ?? chosen;
  return (
    <div className={cells.length < FEW ? "heat is-small" : "heat"}>
      <svg
        viewBox={`0 0 ${LEFT + SIZE + 12} ${SIZE + BOTTOM + 10}`}
        role="group"
        aria-label="Splits that were weighed, prefill cap across, decode cap up"
      >
        <Frame />
        {cells.map((cell) => (
          <HeatCell
            key={`${cell.xPct} ${cell.yPct} ${cell.words}`}
            cell={cell}
            side={side}
            onPick={setPicked}
          />
        ))}
        {chosen && (
          <circle className="heat-chosen" cx={x(chosen.xPct)} cy={y(chosen.yPct)} r={side / 2 + 4} />
        )}
        {current && (
          <rect
            className="heat-current"
            x={x(current.split.prefillSmPct) - side / 2 - 3}
            y={y(current.split.decodeSmPct) - side / 2 - 3}
            width={side + 6}
            height={side + 6}
          />
        )}
      </svg>
      <p className="heat-words">{told ? told.words : "Point at a cell."}</p>
      <p className="quiet heat-key">
        <span className="swatch is-good" /> well within · <span className="swatch is-bad" /> far over ·
        stroke: misses · ring: chosen · frame: where it was
      </p>
    </div>
  );
}

/** As large as the nearest two allow. */
function sideOf(cells: readonly Cell[]): number {
  let nearest = 8;
  for (const [index, a] of cells.entries()) {
    for (const b of cells.slice(index + 1)) {
      const distance = Math.max(Math.abs(a.xPct - b.xPct), Math.abs(a.yPct - b.yPct));
      if (distance > 0) nearest = Math.min(nearest, distance);
    }
  }
  return Math.max(6, (nearest / 100) * SIZE - 1);
}

function HeatCell({ cell, side, onPick }: { cell: Cell; side: number; onPick: (cell: Cell) => void }) {
  const left = x(cell.xPct) - side / 2;
  const top = y(cell.yPct) - side / 2;
  const misses = cell.ratio === null || cell.ratio > 1;
  return (
    <g
      className="heat-cell"
      tabIndex={0}
      role="img"
      aria-label={cell.words}
      onMouseEnter={() => onPick(cell)}
      onFocus={() => onPick(cell)}
    >
      <rect x={left} y={top} width={side} height={side} style={{ fill: fillOf(cell.ratio) }} />
      {misses && <line x1={left} y1={top + side} x2={left + side} y2={top} />}
    </g>
  );
}

/** From calm at half the bound to full at twice the bound, evenly in the logarithm. */
function fillOf(ratio: number | null): string {
  if (ratio === null) return "var(--rule)";
  const bad = Math.min(1, Math.max(0, (Math.log2(Math.max(ratio, 1e-6)) + 1) / 2));
  return `color-mix(in oklab, var(--heat-bad) ${Math.round(bad * 100)}%, var(--heat-good))`;
}

function Frame() {
  return (
    <g className="heat-frame" aria-hidden="true">
      {TICKS.map((pct) => (
        <g key={pct}>
          <line x1={x(pct)} x2={x(pct)} y1={y(0)} y2={y(100)} />
          <line x1={x(0)} x2={x(100)} y1={y(pct)} y2={y(pct)} />
          <text x={x(pct)} y={y(0) + 14} textAnchor="middle">
            {pct}
          </text>
          <text x={LEFT - 6} y={y(pct) + 4} textAnchor="end">
            {pct}
          </text>
        </g>
      ))}
      <text x={x(50)} y={y(0) + 30} textAnchor="middle">
        prefill cap, % of SMs
      </text>
      <text transform={`translate(10 ${y(50)}) rotate(-90)`} textAnchor="middle">
        decode cap, % of SMs
      </text>
    </g>
  );
}
