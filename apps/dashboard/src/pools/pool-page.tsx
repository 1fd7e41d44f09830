import type { Pool, SloVersion } from "@fulcrum/contracts/pools.js";
import { type ApiRequest, send } from "../api/client.js";
import { useLoad } from "../api/use-load.js";
import { HeldLine } from "../approvals/held-line.js";
import { PauseButton } from "../approvals/pause-dialog.js";
import { DecisionTable } from "../decision/decision-table.js";
import { msText, percentileText, shareText } from "../ui/format.js";
import { Age, Loading, PageHead } from "../ui/parts.js";
import { Link } from "../ui/router.js";
import { EditForm } from "./edit-form.js";
import { EvidenceCard } from "./evidence.js";
import {
  type Draft,
  GUARD_FIELDS,
  LIMIT_FIELDS,
  MAIN_FIELDS,
  patchOf,
  SLO_FIELDS,
  sloOf,
} from "./settings-fields.js";

/** What POST …/preview takes of a change of settings. */
const PREVIEWED = ["policy", "mode", "guards", "limits"] as const;

export function PoolPage({ name }: { name: string }) {
  const path = `/v1/pools/${encodeURIComponent(name)}`;
  const pool = useLoad<Pool>(path);
  const slo = useLoad<SloVersion>(`${path}/slo`);
  const reload = () => {
    pool.reload();
    slo.reload();
  };
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
        </div>
      </PageHead>
      <HeldLine scope={{ pool: name }} />
      <div className="columns">
        <SloForm path={path} slo={slo.data} etag={slo.etag ?? "*"} onSaved={reload} />
        <SloHistory path={path} key={slo.data.version} />
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
      groups={[[null, SLO_FIELDS]]}
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
      groups={[
        [null, MAIN_FIELDS],
        ["Guards: bounds on what leaves, whatever the policy wants", GUARD_FIELDS],
        ["Limits: narrower than the driver's", LIMIT_FIELDS],
      ]}
      save={save}
      preview={(base, draft) => {
        const patch = patchOf(base, draft);
        const told = PREVIEWED.filter((key) => key in patch).map((key) => [key, patch[key]] as const);
        return told.length === 0 ? null : Object.fromEntries(told);
      }}
      previewPath={`${path}/preview`}
      readAgain={async () => {
        const answer = await send<Pool>({ method: "GET", path });
        return { value: answer.data, etag: answer.etag ?? "*" };
      }}
      onSaved={onSaved}
    />
  );
}

const SHOWN = 6;

function SloHistory({ path }: { path: string }) {
  const { data } = useLoad<{ items: readonly SloVersion[] }>(`${path}/slo/versions`);
  return (
    <section className="card" aria-label="SLO versions">
      <h2>Versions</h2>
      <table>
        <thead>
          <tr>
            <th scope="col">No.</th>
            <th scope="col">TTFT</th>
            <th scope="col">TPOT</th>
            <th scope="col">Attainment</th>
            <th scope="col">Set</th>
          </tr>
        </thead>
        <tbody>
          {(data?.items ?? []).slice(0, SHOWN).map(({ version, slo, createdAt, createdBy }) => (
            <tr key={version}>
              <td>{version}</td>
              <td>
                {percentileText(slo.ttft.percentile)} {msText(slo.ttft.boundMs)}
              </td>
              <td>
                {percentileText(slo.tpot.percentile)} {msText(slo.tpot.boundMs)}
              </td>
              <td>{shareText(slo.attainmentShare)}</td>
              <td>
                <Age at={createdAt} /> <span className="quiet">by {createdBy}</span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
