import type { Pool } from "@fulcrum/contracts/pools.js";
import { useEvents } from "../api/live.js";
import { useLoad } from "../api/use-load.js";
import { PauseButton } from "../approvals/pause-dialog.js";
import { msText, percentileText, shareText } from "../ui/format.js";
import { Empty, Loading, PageHead, Tag } from "../ui/parts.js";
import { Link, poolPath } from "../ui/router.js";
import { CreatePoolButton } from "./create-pool.js";

export function PoolsPage() {
  const { data, error, reload } = useLoad<{ items: readonly Pool[] }>("/v1/pools");
  useEvents((event) => {
    if (event === "pool" || event === "reset") reload();
  });
  return (
    <>
      <PageHead title="Pools">
        <p className="quiet">instances that share a model, an SLO and a policy</p>
        <CreatePoolButton />
      </PageHead>
      {data ? <PoolTable items={data.items} /> : <Loading error={error} />}
    </>
  );
}

function PoolTable({ items }: { items: readonly Pool[] }) {
  if (items.length === 0)
    return (
      <Empty>
        There is no pool yet. Create one here, or with{" "}
        <code>fulcrum pools create chat --model llama3-8b --ttft-ms 300 --tpot-ms 100</code>.
      </Empty>
    );
  return (
    <div className="wide">
      <table className="nowrap">
        <thead>
          <tr>
            <th scope="col">Pool</th>
            <th scope="col">Model</th>
            <th scope="col" className="number">
              Instances
            </th>
            <th scope="col">Mode</th>
            <th scope="col">Policy</th>
            <th scope="col">TTFT</th>
            <th scope="col">TPOT</th>
            <th scope="col">Attainment</th>
            <th scope="col">
              <span className="hidden">Action</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {items.map((pool) => (
            <tr key={pool.id}>
              <th scope="row">
                <Link to={poolPath(pool.name)}>{pool.name}</Link>
              </th>
              <td>{pool.model}</td>
              <td className="number">
                <Link to={`/?pool=${encodeURIComponent(pool.name)}`}>{pool.instances}</Link>
              </td>
              <td>
                {pool.mode} {pool.frozen && <Tag tone="warn">frozen</Tag>}
              </td>
              <td>{pool.policy.name}</td>
              <td>
                {percentileText(pool.slo.ttft.percentile)} ≤ {msText(pool.slo.ttft.boundMs)}
              </td>
              <td>
                {percentileText(pool.slo.tpot.percentile)} ≤ {msText(pool.slo.tpot.boundMs)}
              </td>
              <td>≥ {shareText(pool.slo.attainmentShare)}</td>
              <td className="number">
                <PauseButton scope={{ pool: pool.name }} label="Pause" />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
