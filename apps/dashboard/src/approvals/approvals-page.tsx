import type { Hold } from "@fulcrum/contracts/holds.js";
import type { Proposal } from "@fulcrum/contracts/proposals.js";
import { useState } from "react";
import { useEvents } from "../api/live.js";
import type { Page } from "../api/types.js";
import { useLoad } from "../api/use-load.js";
import { ActionDialog } from "../ui/action-dialog.js";
import { TextField } from "../ui/fields.js";
import { ageText, msText, splitText, timeText, wordsOf } from "../ui/format.js";
import { Empty, Loading, PageHead, Table, Tag, useNow } from "../ui/parts.js";
import { instancePath, Link } from "../ui/router.js";
import { FreezeButton } from "./freeze-dialog.js";
import { EndButton, HoldWords, useHolds } from "./held-line.js";
import { PauseButton } from "./pause-dialog.js";

export function ApprovalsPage() {
  const open = useLoad<Page<Proposal>>("/v1/proposals?state=open&limit=100");
  const past = useLoad<Page<Proposal>>("/v1/proposals?limit=30");
  const reload = () => {
    open.reload();
    past.reload();
  };
  useEvents((event) => {
    if (event === "proposal" || event === "reset") reload();
  });
  return (
    <>
      <PageHead title="Approvals and holds">
        <div className="buttons">
          <PauseButton scope={{}} label="Pause all" />
          <FreezeButton />
        </div>
      </PageHead>
      <section aria-label="Waiting for approval">
        <h2>Waiting for approval</h2>
        {open.data ? <OpenList items={open.data.items} onDone={reload} /> : <Loading error={open.error} />}
      </section>
      <HoldList />
      <section className="card" aria-label="Decided before">
        <h2>Decided before</h2>
        {past.data && <PastTable items={past.data.items.filter(({ state }) => state !== "open")} />}
      </section>
    </>
  );
}

function OpenList({ items, onDone }: { items: readonly Proposal[]; onDone: () => void }) {
  if (items.length === 0)
    return <Empty>Nothing waits. Pools in mode recommend put their moves here instead of making them.</Empty>;
  return items.map((one) => <ProposalCard key={one.id} proposal={one} onDone={onDone} />);
}

function ProposalCard({ proposal, onDone }: { proposal: Proposal; onDone: () => void }) {
  const now = useNow();
  const approvals = proposal.votes.filter(({ verdict }) => verdict === "approve");
  return (
    <article className="card proposal" aria-label={`Proposal for ${proposal.instance}`}>
      <p className="sentence">{proposal.message}</p>
      <dl className="facts">
        <dt>Instance</dt>
        <dd>
          <Link to={instancePath(proposal.instance)}>{proposal.instance}</Link> in {proposal.pool}
        </dd>
        <dt>Change</dt>
        <dd>
          {splitText(proposal.from)} → <b>{splitText(proposal.to)}</b>{" "}
          <span className="quiet">(prefill/decode, % of SMs)</span>
        </dd>
        {proposal.predicted && (
          <>
            <dt>Predicted</dt>
            <dd>
              TTFT {msText(proposal.predicted.ttftMs)}, TPOT {msText(proposal.predicted.tpotMs)}
            </dd>
          </>
        )}
        <dt>Approved</dt>
        <dd>
          {approvals.filter(({ counts }) => counts).length} of {proposal.required}
          {approvals.map(
            ({ actor, comment, counts }) =>
              ` · ${actor}${counts ? "" : " (key revoked, not counted)"}${comment ? `: “${comment}”` : ""}`,
          )}
        </dd>
        <dt>Lapses</dt>
        <dd>{ageText(proposal.expiresAt, now)}</dd>
      </dl>
      <div className="buttons">
        <Vote proposal={proposal} verdict="approve" onDone={onDone} />
        <Vote proposal={proposal} verdict="reject" onDone={onDone} />
        <Link to={`/decisions/${proposal.decision}`}>Why: the decision</Link>
      </div>
    </article>
  );
}

interface VoteProps {
  readonly proposal: Proposal;
  readonly verdict: "approve" | "reject";
  readonly onDone: () => void;
}

function Vote({ proposal, verdict, onDone }: VoteProps) {
  const [open, setOpen] = useState(false);
  const [words, setWords] = useState("");
  const isApproval = verdict === "approve";
  const body = isApproval ? { comment: words.trim() === "" ? null : words } : { reason: words };
  const done = () => {
    setOpen(false);
    onDone();
  };
  return (
    <>
      <button type="button" className={isApproval ? "primary" : ""} onClick={() => setOpen(true)}>
        {isApproval ? "Approve" : "Reject"}
      </button>
      {open && (
        <ActionDialog
          title={`${isApproval ? "Approve" : "Reject"}: ${proposal.instance} to ${splitText(proposal.to)}`}
          explain={
            isApproval
              ? approvalWords(proposal)
              : "The instance stays where it is; the policy may propose again."
          }
          verb={isApproval ? "Approve" : "Reject"}
          request={{ method: "POST", path: `/v1/proposals/${proposal.id}/${verdict}`, body }}
          onDone={done}
          onClose={() => setOpen(false)}
        >
          <TextField
            label={isApproval ? "Comment" : "Reason"}
            value={words}
            onChange={setWords}
            required={!isApproval}
          />
        </ActionDialog>
      )}
    </>
  );
}

function approvalWords({ required, votes }: Proposal): string {
  const missing = required - votes.filter(({ verdict, counts }) => verdict === "approve" && counts).length;
  return missing > 1
    ? `${missing} different keys must approve; yours is the first.`
    : "The change is made at once. If the instance has moved meanwhile, it is refused.";
}

function HoldList() {
  const { data, error } = useHolds();
  return (
    <section className="card" aria-label="Holds in force">
      <h2>Holds in force</h2>
      {!data && <Loading error={error} />}
      {data?.items.length === 0 && (
        <p className="quiet">Nothing is held: the policies may move what their pools' modes allow.</p>
      )}
      {data && data.items.length > 0 && <HoldTable items={data.items} />}
    </section>
  );
}

function HoldTable({ items }: { items: readonly Hold[] }) {
  return (
    <div className="wide">
      <table>
        <tbody>
          {items.map((hold) => (
            <tr key={hold.id}>
              <td>
                <HoldWords hold={hold} />
                {hold.schedule && (
                  <span className="quiet">
                    {" "}
                    · {hold.schedule.cron} ({hold.schedule.timeZone}){hold.holding ? "" : ", not now"}
                  </span>
                )}
              </td>
              <td>{hold.allocation && splitText(hold.allocation)}</td>
              <td className="number">
                <EndButton hold={hold} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function PastTable({ items }: { items: readonly Proposal[] }) {
  if (items.length === 0) return <p className="quiet">None yet.</p>;
  return (
    <Table heads={["When", "Instance", "Change", "Came to", "Who"]}>
      {items.map((one) => (
        <tr key={one.id}>
          <td>{timeText(one.createdAt)}</td>
          <td>
            <Link to={instancePath(one.instance)}>{one.instance}</Link>
          </td>
          <td>
            <Link to={`/decisions/${one.decision}`}>
              {splitText(one.from)} → {splitText(one.to)}
            </Link>
          </td>
          <td>
            <Tag tone={one.state === "approved" ? "good" : "quiet"}>{wordsOf(one.state)}</Tag>
          </td>
          <td>
            {one.votes.map(({ actor, comment }) => (comment ? `${actor}: “${comment}”` : actor)).join(", ")}
          </td>
        </tr>
      ))}
    </Table>
  );
}
