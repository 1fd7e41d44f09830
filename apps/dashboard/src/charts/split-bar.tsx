import type { Allocation } from "@fulcrum/core/nouns.js";
import { pctText } from "../ui/format.js";

interface SplitBarProps {
  readonly asked: Allocation;
  /** Null: the agent has not read it back. */
  readonly delivered: Allocation | null;
}

const WIDTH = 120;
const HEIGHT = 22;

/**
 * Prefill's SMs from the left, decode's from the right: where they overlap both may run. Filled: delivered; outline: asked.
 */
export function SplitBar({ asked, delivered }: SplitBarProps) {
  const px = (pct: number) => (pct / 100) * WIDTH;
  const ask = asked.split;
  const got = delivered?.split ?? null;
  return (
    <span className="split">
      <svg
        width={WIDTH}
        height={HEIGHT}
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        role="img"
        aria-label={words(asked, delivered)}
      >
        <rect className="split-ground" width={WIDTH} height={HEIGHT} />
        {got && (
          <>
            <rect className="split-prefill" y={3} width={px(got.prefillSmPct)} height={8} />
            <rect
              className="split-decode"
              x={WIDTH - px(got.decodeSmPct)}
              y={11}
              width={px(got.decodeSmPct)}
              height={8}
            />
          </>
        )}
        <rect
          className="split-asked"
          x={0.5}
          y={2.5}
          width={Math.max(0, px(ask.prefillSmPct) - 1)}
          height={9}
        />
        <rect
          className="split-asked"
          x={WIDTH - px(ask.decodeSmPct) + 0.5}
          y={10.5}
          width={Math.max(0, px(ask.decodeSmPct) - 1)}
          height={9}
        />
      </svg>
      <span className="split-words">
        <span className="ink-prefill">P {shown(got?.prefillSmPct, ask.prefillSmPct)}</span>{" "}
        <span className="ink-decode">D {shown(got?.decodeSmPct, ask.decodeSmPct)}</span>
      </span>
    </span>
  );
}

/** `60`, or `50→60` while what was asked is not there yet. */
function shown(got: number | undefined, ask: number): string {
  const tidy = (pct: number) => String(Number(pct.toFixed(1)));
  return got === undefined || got === ask ? tidy(ask) : `${tidy(got)}→${tidy(ask)}`;
}

function words(asked: Allocation, delivered: Allocation | null): string {
  const told = ({ split }: Allocation) =>
    `prefill ${pctText(split.prefillSmPct)}, decode ${pctText(split.decodeSmPct)}`;
  return `Split: ${delivered ? `delivered ${told(delivered)}` : "not read back"}; asked ${told(asked)}`;
}
