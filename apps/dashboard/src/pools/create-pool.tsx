import type { Pool } from "@fulcrum/contracts/pools.js";
import { useState } from "react";
import { ActionDialog } from "../ui/action-dialog.js";
import { SelectField, TextField } from "../ui/fields.js";
import { navigate, poolPath } from "../ui/router.js";

const START = {
  name: "",
  model: "",
  ttftMs: "300",
  tpotMs: "100",
  percentilePct: "90",
  attainmentPct: "90",
  mode: "observe",
};

const MODES = [
  ["observe", "observe: decide, change nothing"],
  ["recommend", "recommend: a person approves"],
  ["enforce", "enforce: apply"],
] as const;

/** A pool with what must be said of it; the rest has defaults and is edited on its page. */
export function CreatePoolButton() {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" className="primary" onClick={() => setOpen(true)}>
        Create a pool
      </button>
      {open && <CreateDialog onClose={() => setOpen(false)} />}
    </>
  );
}

function CreateDialog({ onClose }: { onClose: () => void }) {
  const [typed, setTyped] = useState(START);
  const put = (key: keyof typeof START) => (text: string) => setTyped({ ...typed, [key]: text });
  const percentile = Number(typed.percentilePct) / 100;
  const body = {
    name: typed.name,
    model: typed.model,
    mode: typed.mode,
    slo: {
      ttft: { percentile, boundMs: Number(typed.ttftMs) },
      tpot: { percentile, boundMs: Number(typed.tpotMs) },
      attainmentShare: Number(typed.attainmentPct) / 100,
    },
  };
  return (
    <ActionDialog
      title="Create a pool"
      explain="Instances join it when their agents register them. Policy search, its guards and limits begin with their defaults."
      verb="Create"
      request={{ method: "POST", path: "/v1/pools", body }}
      onDone={(answer) => navigate(poolPath((answer as Pool).name))}
      onClose={onClose}
    >
      <div className="fields across">
        <TextField label="Name" value={typed.name} onChange={put("name")} required placeholder="chat" />
        <TextField
          label="Model"
          value={typed.model}
          onChange={put("model")}
          required
          placeholder="llama3-8b"
        />
        <TextField label="TTFT bound" type="number" unit="ms" value={typed.ttftMs} onChange={put("ttftMs")} />
        <TextField label="TPOT bound" type="number" unit="ms" value={typed.tpotMs} onChange={put("tpotMs")} />
        <TextField
          label="Percentile of both"
          type="number"
          unit="th"
          value={typed.percentilePct}
          onChange={put("percentilePct")}
        />
        <TextField
          label="Attainment"
          type="number"
          unit="%"
          value={typed.attainmentPct}
          onChange={put("attainmentPct")}
          hint="share of requests within both bounds"
        />
        <SelectField label="Mode" value={typed.mode} onChange={put("mode")} options={MODES} />
      </div>
    </ActionDialog>
  );
}
