import type { DecisionResource, ReconfigurationResource } from "@fulcrum/contracts/resources.js";
import { approvedWords, unmadeWords } from "@fulcrum/contracts/unmade-words.js";
import { useEvents } from "../api/live.js";
import { useLoad } from "../api/use-load.js";
import { allocationText, clockText, msText, wordsOf } from "../ui/format.js";
import { Problem, Table, Tag, type Tone } from "../ui/parts.js";

const TONES: Readonly<Partial<Record<ReconfigurationResource["state"], Tone>>> = {
  verified: "good",
  failed: "bad",
  rolled_back: "bad",
};

/** How the change went onto the GPU, step by step. */
export function Rollout({ row }: { row: DecisionResource }) {
  const path = row.reconfiguration === null ? null : `/v1/reconfigurations/${row.reconfiguration}`;
  const { data, error, reload } = useLoad<ReconfigurationResource>(path);
  useEvents((event) => {
    if (event === "rollout") reload();
  });
  if (path === null) {
    if (row.kind === "hold") return null;
    const why = `Nothing was changed by this decision. ${unmadeWords(row) ?? "Its rollout is not stored any more."}`;
    return (
      <section className="card" aria-label="Rollout">
        <h2>Rollout</h2>
        <p>{why}</p>
      </section>
    );
  }
  const approved = approvedWords(row);
  return (
    <section className="card" aria-label="Rollout">
      <h2>Rollout</h2>
      <Problem error={error} />
      {data && <Steps rollout={data} />}
      {approved && <p>{approved}</p>}
    </section>
  );
}

function Steps({ rollout }: { rollout: ReconfigurationResource }) {
  const startMs = Date.parse(rollout.createdAt);
  return (
    <>
      <p>
        <Tag tone={TONES[rollout.state] ?? "quiet"}>{wordsOf(rollout.state)}</Tag>
        {rollout.durationMs !== null && ` in ${msText(rollout.durationMs)}`}, generation{" "}
        {rollout.from.generation} → {rollout.generation}
        {rollout.attempt > 1 && `, attempt ${rollout.attempt}`}
      </p>
      {rollout.failure && <p className="problem">{rollout.failure}</p>}
      <Table heads={["At", { number: "After" }, "Rank", "Step", "What"]}>
        {rollout.steps.map((step) => (
          <tr key={`${step.at} ${step.rank} ${step.step} ${step.attempt}`}>
            <td>{clockText(step.at)}</td>
            <td className="number">{msText(Date.parse(step.at) - startMs)}</td>
            <td>{step.rank ?? "all"}</td>
            <td>{wordsOf(step.step)}</td>
            <td>
              {step.delivered && `delivered ${allocationText(step.delivered)}`} {step.detail}
            </td>
          </tr>
        ))}
      </Table>
    </>
  );
}
