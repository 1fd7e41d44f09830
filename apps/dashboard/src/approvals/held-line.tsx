import type { Hold } from "@fulcrum/contracts/holds.js";
import { useEffect, useState } from "react";
import { useEvents } from "../api/live.js";
import type { Page } from "../api/types.js";
import { type Loaded, useLoad } from "../api/use-load.js";
import { ActionDialog } from "../ui/action-dialog.js";
import { ReasonField } from "../ui/fields.js";
import { splitText, wordsOf } from "../ui/format.js";
import { Age, useNow } from "../ui/parts.js";
import { instancePath, Link } from "../ui/router.js";
import { endWords, unreachedOf } from "./held-view.js";
import { HOLDS_CHANGED, type Scope, scopeWords } from "./pause-dialog.js";

/** What is in force now, of the fleet or of what touches a pool or an instance. */
export function useHolds(scope: Scope = {}): Loaded<Page<Hold>> {
  return useHoldList({ active: "true", limit: "200", ...scope });
}

function useHoldList(filter: Readonly<Record<string, string>>): Loaded<Page<Hold>> {
  const query = new URLSearchParams(filter);
  const loaded = useLoad<Page<Hold>>(`/v1/holds?${query.toString()}`);
  const { reload } = loaded;
  useEvents((event) => {
    if (event === "hold" || event === "reset") reload();
  });
  useEffect(() => {
    window.addEventListener(HOLDS_CHANGED, reload);
    return () => window.removeEventListener(HOLDS_CHANGED, reload);
  }, [reload]);
  return loaded;
}

const SHOWN = 3;

/** What holds still, who said so and why, with a way to end it, and what was not reached. Nothing when there is neither. */
export function HeldLine({ scope = {} }: { scope?: Scope }) {
  const { data } = useHolds(scope);
  const active = data?.items ?? [];
  return (
    <>
      <Unreached scope={scope} active={active} />
      <Held holds={active.filter(({ holding }) => holding)} />
    </>
  );
}

function Held({ holds }: { holds: readonly Hold[] }) {
  if (holds.length === 0) return null;
  return (
    <ul className="held" aria-label="What is held">
      {holds.slice(0, SHOWN).map((hold) => (
        <li key={hold.id}>
          <HoldWords hold={hold} /> <EndButton hold={hold} />
        </li>
      ))}
      {holds.length > SHOWN && (
        <li>
          <Link to="/approvals">and {holds.length - SHOWN} more</Link>
        </li>
      )}
    </ul>
  );
}

/** Overrides that were taken back because their allocation was never reached: who set them by hand must not believe they stand. */
function Unreached({ scope, active }: { scope: Scope; active: readonly Hold[] }) {
  const { data } = useHoldList({ active: "false", kind: "override", limit: "50", ...scope });
  const now = useNow();
  const holds = unreachedOf(data?.items ?? [], active, now);
  if (holds.length === 0) return null;
  return (
    <ul className="held" aria-label="What was not reached">
      {holds.slice(0, SHOWN).map((hold) => (
        <li key={hold.id}>
          <b>
            <Link to={instancePath(hold.instance ?? "")}>{hold.instance}</Link> was not set to{" "}
            {hold.allocation && splitText(hold.allocation)}
          </b>{" "}
          as {hold.actor} asked (“{hold.reason}”): {hold.endReason}{" "}
          <span className="quiet">
            · <Age at={hold.endedAt ?? now} />
          </span>
        </li>
      ))}
      {holds.length > SHOWN && <li>and {holds.length - SHOWN} more</li>}
    </ul>
  );
}

const VERBS: Readonly<Record<Hold["kind"], string>> = {
  pause: "paused",
  pin: "pinned",
  override: "set by hand",
  freeze_window: "frozen by the calendar",
};

export function HoldWords({ hold }: { hold: Hold }) {
  const now = useNow();
  return (
    <span>
      <b>
        {scopeWords(hold)} {VERBS[hold.kind]}
      </b>{" "}
      by {hold.actor}: “{hold.reason}”<span className="quiet"> · {endWords(hold, now)}</span>
    </span>
  );
}

export function EndButton({ hold }: { hold: Hold }) {
  const [open, setOpen] = useState(false);
  const [reason, setReason] = useState("");
  const path = `/v1/holds/${hold.id}?reason=${encodeURIComponent(reason)}`;
  const done = () => {
    setOpen(false);
    window.dispatchEvent(new Event(HOLDS_CHANGED));
  };
  return (
    <>
      <button type="button" className="small" onClick={() => setOpen(true)}>
        {hold.kind === "pause" ? "Resume" : "End"}
      </button>
      {open && (
        <ActionDialog
          title={`End the ${wordsOf(hold.kind)} of ${scopeWords(hold)}`}
          explain="The policy may move it again from the next evaluation on, if nothing else holds it."
          verb={hold.kind === "pause" ? "Resume" : "End"}
          request={{ method: "DELETE", path }}
          onDone={done}
          onClose={() => setOpen(false)}
        >
          <ReasonField value={reason} onChange={setReason} />
        </ActionDialog>
      )}
    </>
  );
}
