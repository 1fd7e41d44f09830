import type { AgentResource } from "@fulcrum/contracts/resources.js";
import { useEffect } from "react";
import { useLoad } from "../api/use-load.js";
import { msText, wordsOf } from "../ui/format.js";
import { Age, Empty, Loading, PageHead, Problem, Table, Tag } from "../ui/parts.js";
import { instancePath, Link } from "../ui/router.js";

const REFRESH_MS = 5_000;

export function AgentsPage() {
  const { data, error, reload } = useLoad<{ items: readonly AgentResource[] }>("/v1/agents");
  useEffect(() => {
    const timer = setInterval(reload, REFRESH_MS);
    return () => clearInterval(timer);
  }, [reload]);
  if (!data) return <Loading error={error} />;
  const silent = data.items.filter(({ conditions }) => conditions.length > 0).length;
  return (
    <>
      <PageHead title="Agents">
        <p>
          <b>{data.items.length}</b> on GPU nodes{silent > 0 && `, ${silent} with a condition`}
        </p>
      </PageHead>
      <Problem error={error} />
      {data.items.length === 0 ? (
        <Empty>
          No agent has registered. Start one beside an engine: <code>fulcrum agent</code>.
        </Empty>
      ) : (
        <AgentTable items={data.items} />
      )}
    </>
  );
}

function AgentTable({ items }: { items: readonly AgentResource[] }) {
  return (
    <Table heads={["Agent", "Node", "State", "Last seen", { number: "Clock" }, "Version", "Instances"]}>
      {items.map((agent) => (
        <tr key={agent.id}>
          <th scope="row">{agent.name}</th>
          <td>{agent.node}</td>
          <td>
            {agent.conditions.length === 0 && <Tag tone="good">well</Tag>}
            {agent.conditions.map((one) => (
              <Tag key={one} tone="warn">
                {wordsOf(one)}{" "}
              </Tag>
            ))}
          </td>
          <td>
            <Age at={agent.lastSeenAt} />
          </td>
          <td className="number">
            {agent.clockSkewMs < 0 ? "−" : "+"}
            {msText(Math.abs(agent.clockSkewMs))}
          </td>
          <td>{agent.agentVersion}</td>
          <td>
            {agent.instances.map((name, index) => (
              <span key={name}>
                {index > 0 && ", "}
                <Link to={instancePath(name)}>{name}</Link>
              </span>
            ))}
          </td>
        </tr>
      ))}
    </Table>
  );
}
