import { SelectField, TextField } from "../ui/fields.js";
import { wordsOf } from "../ui/format.js";
import { PageHead } from "../ui/parts.js";
import { setQuery, useAddress } from "../ui/router.js";
import { DecisionTable } from "./decision-table.js";

const REASONS = [
  "TTFT_MISSED",
  "TPOT_MISSED",
  "BOTH_MISSED",
  "BETTER_SPLIT",
  "LOAD_CHANGED",
  "KV_PRESSURE",
  "KV_RELIEF",
  "STATIC_TARGET",
  "PINNED",
  "FROZEN",
  "NOT_WORTH_IT",
  "BEST_KNOWN",
  "BOTH_MET",
] as const;

/** A window of the list's own: what is kept in the address can be sent to somebody. */
const KEPT = ["instance", "pool", "kind", "reason", "cursor"] as const;

export function DecisionsPage() {
  const { query } = useAddress();
  const asked: Record<string, string> = { limit: "50" };
  for (const key of KEPT) {
    const value = query.get(key);
    if (value) asked[key] = value;
  }
  const set = (parts: Record<string, string>) => setQuery({ cursor: null, ...parts });
  return (
    <>
      <PageHead title="Decisions">
        <p className="quiet">what the controller decided, and why; newest first</p>
      </PageHead>
      <form
        className="filters"
        role="search"
        aria-label="Decisions"
        onSubmit={(event) => event.preventDefault()}
      >
        <TextField
          label="Instance"
          type="search"
          value={asked.instance ?? ""}
          onChange={(instance) => set({ instance })}
          placeholder="its whole name"
        />
        <TextField label="Pool" type="search" value={asked.pool ?? ""} onChange={(pool) => set({ pool })} />
        <SelectField
          label="What"
          value={asked.kind ?? ""}
          options={[
            ["", "moves and holds"],
            ["move", "moves"],
            ["hold", "holds"],
          ]}
          onChange={(kind) => set({ kind })}
        />
        <SelectField
          label="Reason"
          value={asked.reason ?? ""}
          options={[["", "any reason"], ...REASONS.map((one) => [one, wordsOf(one)] as const)]}
          onChange={(reason) => set({ reason })}
        />
        {asked.cursor && (
          <button type="button" onClick={() => setQuery({ cursor: null })}>
            Back to the newest
          </button>
        )}
      </form>
      <DecisionTable query={asked} withInstance onMore={(cursor) => setQuery({ cursor })} />
    </>
  );
}
