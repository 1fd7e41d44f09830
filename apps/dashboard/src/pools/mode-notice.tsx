import type { Evidence } from "@fulcrum/contracts/outcomes.js";
import type { Pool } from "@fulcrum/contracts/pools.js";
import { useLoad } from "../api/use-load.js";
import { Tag } from "../ui/parts.js";
import { HindsightLine, HOURS } from "./evidence.js";

const LADDER: readonly Pool["mode"][] = ["observe", "recommend", "canary", "enforce"];

/** Whether a mode lets the policy do more than another. */
export function goesUp(from: string, to: string): boolean {
  return LADDER.indexOf(to as Pool["mode"]) > LADDER.indexOf(from as Pool["mode"]);
}

/** What has been gathered so far, where it matters: before the policy may do more. */
export function ModeNotice({ pool, mode }: { pool: Pool; mode: string }) {
  const { data } = useLoad<Evidence>(`/v1/pools/${encodeURIComponent(pool.name)}/evidence?hours=${HOURS}`);
  return (
    <div className="notice" role="status">
      <p>
        <b>
          From {pool.mode} to {mode}: the policy may do more.
        </b>{" "}
        Evidence of the last {HOURS} hours: {data ? data.message : "loading …"}
      </p>
      {data?.items.map((one) => (
        <HindsightLine key={`${one.mode} ${one.subject}`} item={one} />
      ))}
      {data?.canary && (
        <p>
          <Tag tone={data.canary.verdict === "worse" ? "bad" : "quiet"}>canary</Tag> {data.canary.message}
        </p>
      )}
      {data?.items.length === 0 && (
        <p>
          <Tag tone="warn">no trial yet</Tag> Nothing is known of how this policy does here.
        </p>
      )}
    </div>
  );
}
