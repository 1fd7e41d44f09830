import { useState } from "react";
import type { ApiRequest } from "../api/client.js";
import { ActionDialog } from "../ui/action-dialog.js";
import { ReasonField, TtlField } from "../ui/fields.js";
import { parseSpanMs } from "../ui/format.js";

/** Neither: the whole fleet. */
export interface Scope {
  readonly pool?: string;
  readonly instance?: string;
}

export function scopeWords({ pool, instance }: { pool?: string | null; instance?: string | null }): string {
  if (instance) return `instance ${instance}`;
  return pool ? `pool ${pool}` : "the whole fleet";
}

interface PauseButtonProps {
  readonly scope: Scope;
  readonly label: string;
  readonly onDone?: () => void;
}

export function PauseButton({ scope, label, onDone }: PauseButtonProps) {
  const [open, setOpen] = useState(false);
  const done = () => {
    setOpen(false);
    onDone?.();
    window.dispatchEvent(new Event(HOLDS_CHANGED));
  };
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        {label}
      </button>
      {open && <PauseDialog scope={scope} onDone={done} onClose={() => setOpen(false)} />}
    </>
  );
}

/** Sent when this tab has made or ended a hold: whoever lists them reads them again. */
export const HOLDS_CHANGED = "fulcrum:holds";

function PauseDialog({ scope, onDone, onClose }: { scope: Scope; onDone: () => void; onClose: () => void }) {
  const [reason, setReason] = useState("");
  const [ttl, setTtl] = useState("");
  return (
    <ActionDialog
      title={`Pause ${scopeWords(scope)}`}
      explain="Splits stay where they are: windows are still read and decisions recorded, but nothing is moved until the pause ends."
      verb="Pause"
      danger
      request={pauseRequest(scope, reason, ttl)}
      onDone={onDone}
      onClose={onClose}
    >
      <ReasonField value={reason} onChange={setReason} />
      <TtlField value={ttl} onChange={setTtl} />
    </ActionDialog>
  );
}

function pauseRequest(scope: Scope, reason: string, ttl: string): ApiRequest | string {
  const ttlMs = parseSpanMs(ttl);
  if (ttlMs === undefined) return "For how long: write 30m, 2h or 1d, or leave it empty.";
  return { method: "POST", path: "/v1/pauses", body: { ...scope, ttlMs, reason } };
}
