import type { Pool, SloVersion } from "@fulcrum/contracts/pools.js";
import { type ApiRequest, send } from "../api/client.js";
import { useEvents } from "../api/live.js";
import { useLoad } from "../api/use-load.js";
import { HeldLine } from "../approvals/held-line.js";
import { PauseButton } from "../approvals/pause-dialog.js";
import { DecisionTable } from "../decision/decision-table.js";
import { Loading, PageHead } from "../ui/parts.js";
import { Link } from "../ui/router.js";
import { BudgetCard } from "./budget-card.js";
import { CanaryCard } from "./canary-card.js";
import { CapacityCard } from "./capacity-card.js";
import { DeletePoolButton } from "./delete-pool.js";
import { EditForm } from "./edit-form.js";
import { EvidenceCard } from "./evidence.js";
import { goesUp, ModeNotice } from "./mode-notice.js";
import { type Draft, patchOf, previewOf, settingsGroups } from "./settings-fields.js";
import { sloGroups, sloOf } from "./slo-fields.js";
import { SloHistory } from "./slo-history.js";

export function PoolPage({ name }: { name: string }) {
  const path = `/v1/pools/${encodeURIComponent(name)}`;
  const pool = useLoad<Pool>(path);
  const slo = useLoad<SloVersion>(`${path}/slo`);
  const reload = () => {
    pool.reload();
    slo.reload();
  };
  // Of any pool: to read these two again costs less than to find out whether it was this one.
  useEvents((event) => {
    if (event === "pool" || event === "reset") reload();
  });
  if (!pool.data || !slo.data) return <Loading error={pool.error ?? slo.error} />;
  return (
    <>
      <PageHead title={pool.data.name}>
        <p>
          {pool.data.model},{" "}
          <Link to={`/?pool=${encodeURIComponent(name)}`}>
            {pool.data.instances} {pool.data.instances === 1 ? "instance" : "instances"}
          </Link>
          , mode {pool.data.mode}
        </p>
        <div className="buttons">
          <PauseButton scope={{ pool: name }} label="Pause" />
          <DeletePoolButton pool={pool.data} etag={pool.etag ?? "*"} />
        </div>
      </PageHead>
      <HeldLine scope={{ pool: name }} />
      <div className="columns">
        <SloForm path={path} slo={slo.data} etag={slo.etag ?? "*"} onSaved={reload} />
        <SloHistory path={path} key={slo.data.version} />
      </div>
      {pool.data.mode === "canary" && <CanaryCard path={path} />}
      <div className="columns">
        <BudgetCard path={path} />
        <CapacityCard path={path} />
      </div>
      <EvidenceCard pool={name} />
      <SettingsForm path={path} pool={pool.data} etag={pool.etag ?? "*"} onSaved={reload} />
      <section className="card" aria-label="Decisions">
        <h2>
          Latest moves{" "}
          <small>
            <Link to={`/decisions?pool=${encodeURIComponent(name)}`}>all decisions</Link>
          </small>
        </h2>
        <DecisionTable query={{ pool: name, kind: "move", limit: "8" }} withInstance />
      </section>
    </>
  );
}

interface SloFormProps {
  readonly path: string;
  readonly slo: SloVersion;
  readonly etag: string;
  readonly onSaved: () => void;
}

function SloForm({ path, slo, etag, onSaved }: SloFormProps) {
  const save = (base: SloVersion["slo"], draft: Draft, ifMatch: string): ApiRequest => ({
    method: "PUT",
    path: `${path}/slo`,
    body: sloOf(base, draft),
    ifMatch,
  });
  return (
    <EditForm
      title="SLO"
      base={slo.slo}
      etag={etag}
      groups={sloGroups}
      save={save}
      preview={(base, draft) => ({ slo: sloOf(base, draft) })}
      previewPath={`${path}/preview`}
      readAgain={async () => {
        const answer = await send<SloVersion>({ method: "GET", path: `${path}/slo` });
        return { value: answer.data.slo, etag: answer.etag ?? "*" };
      }}
      onSaved={onSaved}
    />
  );
}

function SettingsForm({
  path,
  pool,
  etag,
  onSaved,
}: {
  path: string;
  pool: Pool;
  etag: string;
  onSaved: () => void;
}) {
  const save = (base: Pool, draft: Draft, ifMatch: string): ApiRequest => ({
    method: "PATCH",
    path,
    body: patchOf(base, draft),
    ifMatch,
  });
  return (
    <EditForm
      title="Settings"
      base={pool}
      etag={etag}
      groups={settingsGroups}
      notice={(base, { mode }) =>
        mode !== undefined && goesUp(base.mode, mode) && <ModeNotice pool={base} mode={mode} />
      }
      save={save}
      preview={previewOf}
      previewPath={`${path}/preview`}
      readAgain={async () => {
        const answer = await send<Pool>({ method: "GET", path });
        return { value: answer.data, etag: answer.etag ?? "*" };
      }}
      onSaved={onSaved}
    />
  );
}
