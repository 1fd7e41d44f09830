import type { Pool } from "@fulcrum/contracts/pools.js";
import { useEvents } from "../api/live.js";
import { useLoad } from "../api/use-load.js";
import { PauseButton } from "../approvals/pause-dialog.js";
import { msText, percentileText, shareText } from "../ui/format.js";
import { Empty, Loading, PageHead, Table, Tag } from "../ui/parts.js";
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
    <Table
      nowrap
      heads={[
        "Pool",
        "Model",
        { number: "Instances" },
        "Mode",
        "Policy",
        "TTFT",
        "TPOT",
        "Attainment",
        { hidden: "Action" },
      ]}
    >
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
    </Table>
  );
}
