import { shareText } from "../ui/format.js";

const WIDTH = 72;
const HEIGHT = 10;

/** How full the KV cache is, with a mark at the share that prefill may hold. */
export function KvGauge({ usedShare, quotaPct }: { usedShare: number | null; quotaPct: number }) {
  const quota = (quotaPct / 100) * WIDTH;
  const label = `KV cache ${usedShare === null ? "not told" : `${shareText(usedShare)} used`}, quota ${quotaPct} %`;
  return (
    <span className="kv">
      <svg
        width={WIDTH}
        height={HEIGHT + 4}
        viewBox={`0 0 ${WIDTH} ${HEIGHT + 4}`}
        role="img"
        aria-label={label}
      >
        <rect className="split-ground" y={2} width={WIDTH} height={HEIGHT} />
        <rect className="kv-used" y={2} width={Math.min(1, usedShare ?? 0) * WIDTH} height={HEIGHT} />
        <line
          className="kv-quota"
          x1={Math.min(WIDTH - 1, quota)}
          x2={Math.min(WIDTH - 1, quota)}
          y1={0}
          y2={HEIGHT + 4}
        />
      </svg>
      <span className="kv-words">
        {shareText(usedShare)}
        {quotaPct < 100 && <span className="quiet"> / {Number(quotaPct.toFixed(1))}</span>}
      </span>
    </span>
  );
}
