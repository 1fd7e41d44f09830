import { useState } from "react";
import type { ApiRequest } from "../api/client.js";
import { ActionDialog } from "../ui/action-dialog.js";
import { ReasonField, TextField } from "../ui/fields.js";
import { parseSpanMs } from "../ui/format.js";
import { HOLDS_CHANGED } from "./pause-dialog.js";

/** A pause that comes back by the clock. */
export function FreezeButton() {
  const [open, setOpen] = useState(false);
  const done = () => {
    setOpen(false);
    window.dispatchEvent(new Event(HOLDS_CHANGED));
  };
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        Freeze window
      </button>
      {open && <FreezeDialog onDone={done} onClose={() => setOpen(false)} />}
    </>
  );
}

function FreezeDialog({ onDone, onClose }: { onDone: () => void; onClose: () => void }) {
  const [pool, setPool] = useState("");
  const [cron, setCron] = useState("0 22 * * 1-5");
  const [timeZone, setTimeZone] = useState(Intl.DateTimeFormat().resolvedOptions().timeZone);
  const [span, setSpan] = useState("2h");
  const [reason, setReason] = useState("");
  const durationMs = parseSpanMs(span);
  const request: ApiRequest | string =
    durationMs === undefined || durationMs === null
      ? "How long each time: write 30m, 2h or 1d."
      : {
          method: "POST",
          path: "/v1/freeze-windows",
          body: { ...(pool === "" ? {} : { pool }), cron, timeZone, durationMs, reason },
        };
  return (
    <ActionDialog
      title="Freeze window"
      explain="Nothing is moved in these times; decisions are still recorded."
      verb="Add"
      request={request}
      onDone={onDone}
      onClose={onClose}
    >
      <div className="fields across">
        <TextField label="Pool" value={pool} onChange={setPool} placeholder="the whole fleet" />
        <TextField
          label="Begins at (cron)"
          value={cron}
          onChange={setCron}
          hint="minute hour day month weekday"
        />
        <TextField label="Time zone" value={timeZone} onChange={setTimeZone} />
        <TextField label="Lasts" value={span} onChange={setSpan} hint="30m, 2h, 1d" />
      </div>
      <ReasonField value={reason} onChange={setReason} />
    </ActionDialog>
  );
}
