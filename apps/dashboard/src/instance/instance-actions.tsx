import type { EarlierGenerations } from "@fulcrum/contracts/holds.js";
import type { Instance } from "@fulcrum/contracts/resources.js";
import { useState } from "react";
import type { ApiRequest } from "../api/client.js";
import { useLoad } from "../api/use-load.js";
import { HOLDS_CHANGED, PauseButton } from "../approvals/pause-dialog.js";
import { ActionDialog } from "../ui/action-dialog.js";
import { ReasonField, SelectField, TextField, TtlField } from "../ui/fields.js";
import { ageText, parseSpanMs, splitText } from "../ui/format.js";

type Deed = "pin" | "override" | "rollback" | "clear";

interface DeedProps {
  readonly instance: Instance;
  readonly onDone: () => void;
  readonly onClose: () => void;
}

const SPAN_HINT = "For how long: write 30m, 2h or 1d.";

export function InstanceActions({ instance, onDone }: { instance: Instance; onDone: () => void }) {
  const [deed, setDeed] = useState<Deed | null>(null);
  const props: DeedProps = {
    instance,
    onDone: () => {
      setDeed(null);
      onDone();
      window.dispatchEvent(new Event(HOLDS_CHANGED));
    },
    onClose: () => setDeed(null),
  };
  return (
    <div className="buttons">
      <button type="button" onClick={() => setDeed("pin")}>
        Pin
      </button>
      <button type="button" onClick={() => setDeed("override")}>
        Override
      </button>
      <button type="button" onClick={() => setDeed("rollback")}>
        Roll back
      </button>
      <PauseButton scope={{ instance: instance.name }} label="Pause" onDone={onDone} />
      {instance.conditions.includes("Degraded") && (
        <button type="button" className="primary" onClick={() => setDeed("clear")}>
          Let it move again
        </button>
      )}
      {deed === "pin" && <PinDialog {...props} />}
      {deed === "override" && <OverrideDialog {...props} />}
      {deed === "rollback" && <RollbackDialog {...props} />}
      {deed === "clear" && <ClearDialog {...props} />}
    </div>
  );
}

function pathOf({ name }: Instance, deed: string): string {
  return `/v1/instances/${encodeURIComponent(name)}/${deed}`;
}

function PinDialog({ instance, ...rest }: DeedProps) {
  const [reason, setReason] = useState("");
  const [ttl, setTtl] = useState("");
  const ttlMs = parseSpanMs(ttl);
  const request: ApiRequest | string =
    ttlMs === undefined
      ? SPAN_HINT
      : { method: "PUT", path: pathOf(instance, "pin"), body: { ttlMs, reason } };
  return (
    <ActionDialog
      title={`Pin ${instance.name}`}
      explain={`It stays at ${splitText(instance.desired)} whatever the policy says, until the pin ends.`}
      verb="Pin"
      request={request}
      {...rest}
    >
      <ReasonField value={reason} onChange={setReason} />
      <TtlField value={ttl} onChange={setTtl} />
    </ActionDialog>
  );
}

function OverrideDialog({ instance, ...rest }: DeedProps) {
  const { desired, capabilities } = instance;
  const [prefill, setPrefill] = useState(String(desired.split.prefillSmPct));
  const [decode, setDecode] = useState(String(desired.split.decodeSmPct));
  const [quota, setQuota] = useState(String(desired.kvQuotaPct));
  const [ttl, setTtl] = useState("30m");
  const [reason, setReason] = useState("");
  const { minSmPct, maxSmPct, maxSumPct } = capabilities.limits;
  const allocation = {
    split: { prefillSmPct: Number(prefill), decodeSmPct: Number(decode) },
    kvQuotaPct: Number(quota),
  };
  const ttlMs = parseSpanMs(ttl);
  const request: ApiRequest | string =
    ttlMs === undefined || ttlMs === null
      ? SPAN_HINT
      : { method: "POST", path: pathOf(instance, "override"), body: { allocation, ttlMs, reason } };
  return (
    <ActionDialog
      title={`Set ${instance.name} by hand`}
      explain={`It goes there at once as a new generation and stays until the time is over. This engine takes ${minSmPct} to ${maxSmPct} % each, together at most ${maxSumPct} %.`}
      verb="Override"
      danger
      request={request}
      {...rest}
    >
      <div className="fields across">
        <TextField label="Prefill cap" type="number" unit="% of SMs" value={prefill} onChange={setPrefill} />
        <TextField label="Decode cap" type="number" unit="% of SMs" value={decode} onChange={setDecode} />
        <TextField label="KV quota" type="number" unit="%" value={quota} onChange={setQuota} />
        <TextField label="For how long" value={ttl} onChange={setTtl} hint="30m, 2h, at most 30d" />
      </div>
      <ReasonField value={reason} onChange={setReason} />
    </ActionDialog>
  );
}

const ORIGINS = { found: "as it was found", verified: "verified" } as const;

function RollbackDialog({ instance, ...rest }: DeedProps) {
  const { data } = useLoad<EarlierGenerations>(pathOf(instance, "generations"));
  const [picked, setPicked] = useState("");
  const [ttl, setTtl] = useState("30m");
  const [reason, setReason] = useState("");
  const options = (data?.items ?? []).map(
    ({ generation, allocation, origin, at }) =>
      [
        String(generation),
        `${generation}: ${splitText(allocation)} (${ORIGINS[origin]}${at === null ? "" : `, ${ageText(at, Date.now())}`})`,
      ] as const,
  );
  const chosen = picked === "" ? (options[0]?.[0] ?? "") : picked;
  const ttlMs = parseSpanMs(ttl);
  const request: ApiRequest | string =
    chosen === ""
      ? "There is no earlier generation to go back to."
      : ttlMs === undefined || ttlMs === null
        ? SPAN_HINT
        : {
            method: "POST",
            path: pathOf(instance, "rollback"),
            body: { generation: Number(chosen), ttlMs, reason },
          };
  return (
    <ActionDialog
      title={`Roll ${instance.name} back`}
      explain="The allocation of an earlier generation comes back at once, as a new generation, and is held until the time is over."
      verb="Roll back"
      danger
      request={request}
      {...rest}
    >
      <SelectField
        label="Back to generation"
        value={chosen}
        onChange={setPicked}
        options={options.length > 0 ? options : [["", data ? "none to go back to" : "loading …"]]}
      />
      <TextField label="For how long" value={ttl} onChange={setTtl} hint="30m, 2h, at most 30d" />
      <ReasonField value={reason} onChange={setReason} />
    </ActionDialog>
  );
}

function ClearDialog({ instance, ...rest }: DeedProps) {
  const [reason, setReason] = useState("");
  return (
    <ActionDialog
      title={`Let ${instance.name} move again`}
      explain="It holds still because changes in a row made it worse. From the next evaluation on the policy may move it again."
      verb="Let it move"
      request={{
        method: "DELETE",
        path: `${pathOf(instance, "degraded")}?reason=${encodeURIComponent(reason)}`,
      }}
      {...rest}
    >
      <ReasonField value={reason} onChange={setReason} />
    </ActionDialog>
  );
}
